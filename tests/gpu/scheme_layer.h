// A layer on the device and the passes that fill it: several sequences, cut in several ways.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "tests/gpu/device_side.h"
#include "tests/gpu/scheme_cases.h"

namespace kvx::test {

inline constexpr Side kSides[] = {Side::kK, Side::kV};
inline constexpr int kSequences = 3;
inline constexpr int64_t kLengths[kSequences] = {601, 45, 301};
inline constexpr int kSlots[kSequences] = {2, 0, 3};
inline constexpr int kSlotCount = 4;

// How sequences are cut into passes.
struct Schedule {
  const char* name;
  std::vector<int32_t> counts;  // of a sequence's chunks, over and over
  int64_t limit = 1000;         // tokens of a sequence
  bool look = true;             // for values that are not finite
};
inline const Schedule kAtOnce{"at once", {1000}}, kOnes{"one by one", {1}, 140},
    kSevens{"by 7", {7}}, kBlocks{"by 128", {128}, 1000, false},
    kMixed{"mixed", {1, 300, 31, 64, 5, 129}};

inline bool finite(InputType type, float x) {
  const float rounded = type == InputType::kF32   ? x
                        : type == InputType::kF16 ? num::f16_decode(num::f16_encode(x))
                                                  : num::bf16_decode(num::bf16_encode(x));
  return std::isfinite(rounded);
}

// The inputs of all sequences, K and V.
struct Inputs {
  std::vector<Tensor> rows[2];
  Inputs(gen::Fill fill, const SchemeCase& c, gpu::ScalarType type) {
    for (uint32_t side = 0; side < 2; ++side) {
      for (uint32_t s = 0; s < kSequences; ++s) {
        rows[side].push_back(filled(fill, 21 + s, side, kLengths[s], c.heads, c.dim));
        if (type != gpu::ScalarType::kF16) continue;
        for (float& x : rows[side].back().values) x = num::f16_decode(num::f16_encode(x));
      }
    }
  }
};

// A layer's device memory and the passes that fill it.
class Layer {
 public:
  Layer(const gpu::SchemeKernels& kernels, const CacheConfig& config)
      : kernels_(kernels),
        shape_(shape_of(kernels, config)),
        sides_{DeviceSide(kernels.format(Side::kK), shape_, kSlotCount, 700),
               DeviceSide(kernels.format(Side::kV), shape_, kSlotCount, 700)},
        key_(1) {}

  DeviceSide& side(Side side) { return sides_[static_cast<size_t>(side)]; }
  int64_t length(int sequence) const { return lengths_[sequence]; }
  const gpu::CacheShape& shape() const { return shape_; }

  void run(const Inputs& inputs, gpu::ScalarType type, const Schedule& schedule) {
    for (int pass = 0; append(inputs, type, schedule, pass); ++pass) {
    }
  }

 private:
  static gpu::CacheShape shape_of(const gpu::SchemeKernels& kernels, const CacheConfig& config) {
    int32_t page = gpu::kSegment;
    for (const Side side : kSides)
      if (kernels.format(side).along_tokens) page = std::lcm(page, kernels.format(side).group);
    return {config.shape.kv_heads, config.shape.head_dim, page};
  }

  // One pass; false when all sequences are complete.
  bool append(const Inputs& inputs, gpu::ScalarType type, const Schedule& schedule, int pass) {
    std::vector<gpu::PassSpan> spans;
    std::vector<int> sequences;
    int32_t rows = 0;
    const auto n = static_cast<int>(schedule.counts.size());
    for (int i = 0; i < kSequences; ++i) {
      const int s = (i + pass) % kSequences;
      const int64_t left = std::min(kLengths[s], schedule.limit) - lengths_[s];
      const auto count = static_cast<int32_t>(
          std::min<int64_t>(left, schedule.counts[static_cast<size_t>((pass + s) % n)]));
      if (count == 0 && pass % 2 == 1) continue;  // else a span of nothing
      const auto first = static_cast<int32_t>(lengths_[s]);
      spans.push_back({first, kSlots[s], count, rows, first == 0 && pass % 2 == 0 ? 1 : 0});
      sequences.push_back(s);
      rows += count;
    }
    if (rows == 0) return false;

    const int64_t row = int64_t{shape_.kv_heads} * shape_.head_dim;
    std::vector<float> values[2];
    uint64_t expected = gpu::kAllFinite;
    for (size_t i = 0; i < spans.size(); ++i) {
      for (size_t side = 0; side < 2; ++side) {
        const std::vector<float>& from =
            inputs.rows[side][static_cast<size_t>(sequences[i])].values;
        const auto begin = from.begin() + spans[i].first * row;
        values[side].insert(values[side].end(), begin, begin + spans[i].count * row);
      }
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t side = 0; side < 2; ++side)
        for (int64_t c = 0; c < row; ++c)
          if (!finite(kernels_.traits().input, values[side][static_cast<size_t>(r * row + c)]))
            expected = std::min(
                expected, static_cast<uint64_t>((side == 0 ? 0 : gpu::kKeyOfV) + r * row + c));

    gpu::DeviceArray<gpu::PassSpan> device_spans(static_cast<int64_t>(spans.size()));
    device_spans.upload(spans);
    gpu::DeviceArray<float> wide[2];
    gpu::DeviceArray<uint16_t> halves[2];
    gpu::AppendArgs args;
    for (size_t side = 0; side < 2; ++side) {
      gpu::PassRows& to = side == 0 ? args.k : args.v;
      to.type = type;
      if (type == gpu::ScalarType::kF32) {
        wide[side] = gpu::DeviceArray<float>(rows * row);
        wide[side].upload(values[side]);
        to.data = wide[side].get();
      } else {
        std::vector<uint16_t> bits;
        for (const float x : values[side]) bits.push_back(num::f16_encode(x));
        halves[side] = gpu::DeviceArray<uint16_t>(rows * row);
        halves[side].upload(bits);
        to.data = halves[side].get();
      }
      args.view[side] = sides_[side].device();
    }
    int32_t longest = 0;
    for (const gpu::PassSpan& span : spans) longest = std::max(longest, span.count);
    // Bounds may be loose.
    args.pass = {device_spans.get(), static_cast<int32_t>(spans.size()), rows,
                 longest + (pass % 3) * 50, 700};
    std::vector<gpu::NonFiniteKey> key = {gpu::kAllFinite};
    key_.upload(key);
    args.non_finite = schedule.look ? key_.get() : nullptr;
    kernels_.append(args, nullptr);
    kernels_.settle(args, nullptr);
    key_.download(key);
    EXPECT_EQ(key[0], schedule.look ? expected : gpu::kAllFinite)
        << "first value that is not finite, pass " << pass;
    for (size_t i = 0; i < spans.size(); ++i) lengths_[sequences[i]] += spans[i].count;
    return true;
  }

  const gpu::SchemeKernels& kernels_;
  gpu::CacheShape shape_;
  DeviceSide sides_[2];
  gpu::DeviceArray<gpu::NonFiniteKey> key_;
  int64_t lengths_[kSequences] = {};
};

}  // namespace kvx::test
