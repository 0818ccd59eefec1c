#include "eval/check/inputs.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <exception>
#include <mutex>
#include <thread>

#include "eval/check/record.h"

namespace kvx::check {
namespace {

constexpr int64_t kFence = 64;  // values before and behind
constexpr int64_t kGap = 8;     // values behind a padded token
constexpr int64_t kPart = 512;  // tokens filled at once

// Greatest length of every sequence.
std::vector<int64_t> greatest_lengths(const Case& one) {
  std::vector<int64_t> length(static_cast<size_t>(one.batch), 0), greatest = length;
  for (const Step& step : one.steps) {
    if (step.kind == Step::kFork) {
      length.push_back(length[0]);
      greatest.push_back(length[0]);
    }
    for (size_t i = 0; i < length.size(); ++i) {
      if (step.kind == Step::kAppend) length[i] += Inputs::share(i, step.count);
      greatest[i] = std::max(greatest[i], length[i]);
    }
  }
  return greatest;  // cuts may be refused: they are not counted on
}

enum Tensor : uint32_t { kKeys, kValues, kQueries, kTensors };

uint32_t tensor_number(size_t sequence, Tensor tensor) {
  return static_cast<uint32_t>(sequence) * kTensors + tensor;
}

}  // namespace

void parallel(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < std::min<int64_t>(threads, count); ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

Inputs::Inputs(const Case& one, int threads) : one_(one) {
  const size_t width = static_cast<size_t>(one.kv_heads) * static_cast<size_t>(one.dim);
  const std::vector<int64_t> lengths = greatest_lengths(one);
  for (size_t i = 0; i < lengths.size(); ++i) {
    const int64_t parts = (lengths[i] + kPart - 1) / kPart;
    k_.emplace_back(static_cast<size_t>(lengths[i]) * width);
    v_.emplace_back(k_.back().size());
    parallel(threads, 2 * parts, [&](int64_t job) {
      const Tensor tensor = job < parts ? kKeys : kValues;
      std::vector<float>& to = tensor == kKeys ? k_[i] : v_[i];
      const size_t first = static_cast<size_t>(job % parts * kPart) * width;
      gen::fill(tensor == kKeys ? one_.k : one_.v, one_.seed, tensor_number(i, tensor),
                {one_.kv_heads, one_.dim}, job % parts * kPart,
                std::span(to).subspan(
                    first, std::min(static_cast<size_t>(kPart) * width, to.size() - first)));
    });
  }
}

int64_t Inputs::tokens(size_t sequence) const {
  return static_cast<int64_t>(k_[sequence].size()) / (int64_t{one_.kv_heads} * one_.dim);
}

ConstRows Inputs::k(size_t sequence, int64_t first, int64_t count) const {
  const std::vector<float>& from = k_[sequence];
  const int64_t width = int64_t{one_.kv_heads} * one_.dim;
  return dense_rows(from.data() + first * width, count, one_.kv_heads, one_.dim);
}

ConstRows Inputs::v(size_t sequence, int64_t first, int64_t count) const {
  const std::vector<float>& from = v_[sequence];
  const int64_t width = int64_t{one_.kv_heads} * one_.dim;
  return dense_rows(from.data() + first * width, count, one_.kv_heads, one_.dim);
}

std::vector<float> Inputs::q(size_t sequence, int64_t first, int64_t count) const {
  std::vector<float> rows(static_cast<size_t>(count * one_.q_heads * one_.dim));
  gen::fill(one_.q, one_.seed, tensor_number(sequence, kQueries), {one_.q_heads, one_.dim}, first,
            rows);
  return rows;
}

FencedRows::FencedRows(int64_t tokens, int heads, int dim, bool padded)
    : tokens_(tokens),
      heads_(heads),
      dim_(dim),
      stride_(int64_t{heads} * dim + (padded ? kGap : 0)),
      values_(static_cast<size_t>(2 * kFence + tokens * stride_), std::bit_cast<float>(kPoison)) {}

Rows FencedRows::view() { return {values_.data() + kFence, tokens_, heads_, dim_, stride_, dim_}; }

void FencedRows::put(int64_t first, ConstRows rows) {
  const int64_t width = int64_t{heads_} * dim_;
  for (int64_t t = 0; t < rows.tokens; ++t)
    std::copy_n(rows.row(t, 0), width, view().row(first + t, 0));
}

std::vector<float> FencedRows::dense() const {
  const int64_t width = int64_t{heads_} * dim_;
  std::vector<float> out(static_cast<size_t>(tokens_ * width));
  for (int64_t t = 0; t < tokens_; ++t)
    std::copy_n(view().row(t, 0), width, out.begin() + t * width);
  return out;
}

bool FencedRows::intact() const {
  const int64_t width = int64_t{heads_} * dim_;
  const auto poisoned = [&](int64_t first, int64_t count) {
    return std::all_of(values_.begin() + first, values_.begin() + first + count,
                       [](float x) { return std::bit_cast<uint32_t>(x) == kPoison; });
  };
  bool good = poisoned(0, kFence) && poisoned(kFence + tokens_ * stride_, kFence);
  for (int64_t t = 0; t < tokens_ && stride_ > width; ++t)
    good = good && poisoned(kFence + t * stride_ + width, stride_ - width);
  return good;
}

}  // namespace kvx::check
