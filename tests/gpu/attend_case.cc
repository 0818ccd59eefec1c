#include "tests/gpu/attend_case.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>

#include "sim/gen/random.h"
#include "sim/num/attention.h"
#include "sim/num/formats.h"
#include "tests/gpu/case_args.h"

namespace kvx::test {

namespace {

constexpr int kFence = 64;  // floats
constexpr uint32_t kPoison = 0x7FBADBADu;

// A host pointer as an offset: SideView's index functions serve the host too.
template <class T>
T* base_of(const std::vector<T>& data) {
  return const_cast<T*>(data.data());
}

template <class T>
T* upload(gpu::DeviceArray<std::byte>& array, const std::vector<T>& data) {
  if (data.empty()) return nullptr;
  array.reserve(static_cast<int64_t>(data.size() * sizeof(T)));
  array.upload({reinterpret_cast<const std::byte*>(data.data()), data.size() * sizeof(T)});
  return reinterpret_cast<T*>(array.get());
}

std::vector<float> fenced(int64_t floats) {
  return std::vector<float>(static_cast<size_t>(floats) + 2 * kFence,
                            std::bit_cast<float>(kPoison));
}

bool fences_intact(const std::vector<float>& data) {
  for (size_t i = 0; i < kFence; ++i)
    if (std::bit_cast<uint32_t>(data[i]) != kPoison ||
        std::bit_cast<uint32_t>(data[data.size() - 1 - i]) != kPoison)
      return false;
  return true;
}

}  // namespace

gpu::SideFormat half_format(gpu::SealRule rule) {
  gpu::SideFormat f;
  f.bits = 16;
  f.rule = rule;
  return f;
}

gpu::SideFormat scaled_format(gpu::SealRule rule, int bits, int group, bool along_tokens) {
  gpu::SideFormat f;
  f.bits = bits;
  f.group = group;
  f.along_tokens = along_tokens;
  f.scale_bytes = 2;
  f.zero_bytes = 1;
  f.rule = rule;
  return f;
}

AttendCase::AttendCase(const AttendSpec& spec, uint64_t seed) : spec_(spec) {
  const auto count = static_cast<int32_t>(spec_.spans.size());
  for (int32_t i = 0; i < count; ++i) {
    const SpanSpec& s = spec_.spans[static_cast<size_t>(i)];
    spans_.push_back({s.first, count - 1 - i, s.count, rows_, s.exact ? 1 : 0});
    rows_ += s.count;
    pages_per_slot_ = std::max(pages_per_slot_,
                               (s.first + s.count + spec_.page_tokens - 1) / spec_.page_tokens + 1);
  }
  page_count_ = count * pages_per_slot_ + 1;
  pages_.resize(static_cast<size_t>(count * pages_per_slot_));
  std::iota(pages_.begin(), pages_.end(), 0);
  const gen::Source random{seed, 99, 0};
  for (size_t i = pages_.size(); i > 1; --i)
    std::swap(pages_[i - 1], pages_[random.words(i)[0] % i]);
  fill(seed);
  for (int side = 0; side < 2; ++side)
    for (int span = 0; span < count; ++span)
      for (int head = 0; head < spec_.kv_heads; ++head) {
        const gpu::PassSpan& s = spans_[static_cast<size_t>(span)];
        const int32_t sealed = s.exact ? 0 : spec_.format[side].rule.sealed(s.first + s.count);
        auto& rows = side_[side].sealed.emplace_back();
        for (int32_t t = 0; t < sealed; ++t) rows.push_back(decode(side, span, head, t));
      }
}

gpu::SideView AttendCase::host_view(int side) const {
  const Host& h = side_[side];
  gpu::SideView v;
  v.format = spec_.format[side];
  v.shape = {spec_.kv_heads, spec_.dim, spec_.page_tokens};
  v.codes = base_of(h.codes), v.scale = base_of(h.scale), v.zero = base_of(h.zero);
  v.ring = base_of(h.ring);
  v.pages = pages_.data(), v.pages_per_slot = pages_per_slot_;
  return v;
}

// Sealed, ring and pass rows are unrelated numbers, so that a row read in the wrong version shows;
// all memory that no query may read decodes to NaN.
void AttendCase::fill(uint64_t seed) {
  const auto d = static_cast<size_t>(spec_.dim), heads = static_cast<size_t>(spec_.kv_heads);
  for (int side = 0; side < 2; ++side) {
    Host& h = side_[side];
    const gpu::SideFormat& f = spec_.format[side];
    const gpu::CacheShape shape{spec_.kv_heads, spec_.dim, spec_.page_tokens};
    const size_t page_heads = static_cast<size_t>(page_count_) * heads;
    const size_t groups = page_heads * static_cast<size_t>(page_groups(f, shape));
    h.codes.assign(page_heads * static_cast<size_t>(spec_.page_tokens * f.row_bytes(spec_.dim)),
                   std::byte{0xFF});
    h.scale.assign(groups * static_cast<size_t>(f.scale_bytes), std::byte{0xFF});
    h.zero.assign(groups * static_cast<size_t>(f.zero_bytes), std::byte{0xFF});
    h.ring.assign(spans_.size() * heads * static_cast<size_t>(f.rule.ring_rows()) * d, 0xFFFF);
    h.pass.resize(static_cast<size_t>(rows_) * heads * d);
    const auto tensor = static_cast<uint32_t>(side);
    for (size_t i = 0; i < h.pass.size(); ++i) h.pass[i] = gen::Source{seed, tensor, 0}.normal(i);

    const gpu::SideView view = host_view(side);
    uint64_t draw = 0;
    const gen::Source numbers{seed, tensor, 1};
    for (size_t s = 0; s < spans_.size(); ++s) {
      const gpu::PassSpan& span = spans_[s];
      const int32_t sealed = span.exact ? 0 : f.rule.sealed(span.first + span.count);
      for (int head = 0; head < spec_.kv_heads; ++head) {
        for (int32_t t = 0; t < sealed; ++t) {
          std::byte* to = view.row(span.slot, head, t);
          std::fill_n(to, f.row_bytes(spec_.dim), std::byte{0});
          for (int c = 0; c < spec_.dim; ++c) {
            const uint32_t code = f.bits == 16 ? num::f16_encode(numbers.normal(draw++))
                                               : numbers.words(draw++)[0] & ((1u << f.bits) - 1u);
            for (int b = 0; b < f.bits; ++b)
              to[(c * f.bits + b) / 8] |=
                  static_cast<std::byte>((code >> b & 1u) << ((c * f.bits + b) % 8));
            if (f.scale_bytes == 0) continue;
            const int64_t g = view.group_of(span.slot, head, t, c);
            const gen::Source metadata{seed, tensor, 2};
            const uint16_t scale = num::f16_encode(metadata.normal(static_cast<uint64_t>(g)) /
                                                   static_cast<float>(1 << (f.bits - 1)));
            std::memcpy(view.scale + g * 2, &scale, 2);
            view.zero[g] = static_cast<std::byte>(metadata.words(static_cast<uint64_t>(g))[3] &
                                                  ((1u << f.bits) - 1u));
          }
        }
        const int32_t kept = std::max(0, span.first - f.rule.ring_rows());
        for (int32_t t = kept; t < span.first; ++t)
          for (int c = 0; c < spec_.dim; ++c)
            view.exact_row(span.slot, head, t)[c] = num::f16_encode(numbers.normal(draw++));
      }
    }
  }
  q_.resize(static_cast<size_t>(rows_) * static_cast<size_t>(spec_.q_heads) * d);
  for (size_t i = 0; i < q_.size(); ++i) q_[i] = gen::Source{seed, 2, 0}.normal(i);
  if (spec_.non_finite) taint();
  if (spec_.type == gpu::ScalarType::kF16)
    for (Host& h : side_)
      for (float& x : h.pass) x = num::f16_round(x);
  if (!spec_.check_values) return;
  for (size_t i = 0; i < side_[0].pass.size(); ++i) {
    side_[0].pass[i] = static_cast<float>(static_cast<int>(37 * i % 101) - 50) / 16.0f;
    side_[1].pass[i] = static_cast<float>(static_cast<int>(53 * i % 89) - 44) / 16.0f;
  }
  for (size_t i = 0; i < q_.size(); ++i)
    q_[i] = static_cast<float>(static_cast<int>(29 * (i % d) % 31) - 15) / 7.0f;
}

// V: inf and NaN in some rows of the pass and, of 16-bit codes, in some sealed rows, in one channel
// of four; K: in the last rows only, so that most queries keep finite scores.
void AttendCase::taint() {
  const float inf = std::numeric_limits<float>::infinity();
  const float values[] = {inf, -inf, std::numeric_limits<float>::quiet_NaN(), 70000.0f};
  const auto d = static_cast<size_t>(spec_.dim);
  for (size_t s = 0; s < spans_.size(); ++s) {
    const gpu::PassSpan& span = spans_[s];
    for (int32_t t = 0; t < span.count; ++t) {
      const size_t at = static_cast<size_t>(span.row + t) * static_cast<size_t>(spec_.kv_heads) * d;
      const size_t channel = static_cast<size_t>(t) * 7 % (d / 4) * 4 + 1;
      if (t % 5 == 2) side_[1].pass[at + channel] = values[t % 4];
      if (t + 2 >= span.count && span.count > 4) side_[0].pass[at + channel] = values[t % 4];
    }
    for (int side = 0; side < 2; ++side) {
      const gpu::SideFormat& f = spec_.format[side];
      if (f.bits != 16 || span.exact) continue;
      const int32_t sealed = f.rule.sealed(span.first + span.count);
      const int32_t from =
          side == 1 ? std::max(0, span.first - 40) : std::max(span.first, sealed - 3);
      for (int32_t t = from; t < sealed; t += 3)
        reinterpret_cast<uint16_t*>(host_view(side).row(
            span.slot, 0, t))[t * 5 % (spec_.dim / 4) * 4 + 1] = num::f16_encode(values[t % 3]);
    }
  }
}

std::vector<float> AttendCase::decode(int side, int span, int head, int32_t token) const {
  const gpu::SideView view = host_view(side);
  const gpu::SideFormat& f = view.format;
  const int slot = spans_[static_cast<size_t>(span)].slot;
  const std::byte* from = view.row(slot, head, token);
  std::vector<float> x(static_cast<size_t>(spec_.dim));
  for (int c = 0; c < spec_.dim; ++c) {
    uint32_t code = 0;
    for (int b = 0; b < f.bits; ++b)
      code |= (static_cast<uint32_t>(from[(c * f.bits + b) / 8]) >> ((c * f.bits + b) % 8) & 1u)
              << b;
    if (spec_.codec == TestCodec::kHalf) {
      x[static_cast<size_t>(c)] = num::f16_decode(static_cast<uint16_t>(code));
      continue;
    }
    const int64_t g = view.group_of(slot, head, token, c);
    uint16_t scale;
    std::memcpy(&scale, view.scale + g * 2, 2);
    x[static_cast<size_t>(c)] =
        (static_cast<float>(code) - static_cast<float>(static_cast<uint8_t>(view.zero[g]))) *
        num::f16_decode(scale);
  }
  return x;
}

std::vector<float> AttendCase::row(int side, int span, int head, int32_t token,
                                   int32_t query) const {
  const gpu::SideView view = host_view(side);
  const gpu::PassSpan& s = spans_[static_cast<size_t>(span)];
  const gpu::SealRule& rule = view.format.rule;
  const int32_t sealed = s.exact                           ? 0
                         : spec_.reads == gpu::Reads::kAll ? rule.sealed(s.first + s.count)
                                                           : rule.read_sealed(query);
  if (token < sealed)
    return side_[side]
        .sealed[static_cast<size_t>(span * spec_.kv_heads + head)][static_cast<size_t>(token)];
  std::vector<float> x(static_cast<size_t>(spec_.dim));
  if (token < s.first) {
    num::f16_decode(std::span<const uint16_t>(view.exact_row(s.slot, head, token), x.size()), x);
    return x;
  }
  const auto at = static_cast<size_t>((s.row + token - s.first) * spec_.kv_heads + head) *
                  static_cast<size_t>(spec_.dim);
  std::copy_n(side_[side].pass.begin() + static_cast<int64_t>(at), x.size(), x.begin());
  if (!s.exact) num::f16_round(x, x);
  return x;
}

std::vector<float> AttendCase::expected(int span, int32_t token, int head) const {
  const gpu::PassSpan& s = spans_[static_cast<size_t>(span)];
  const int kv_head = head / (spec_.q_heads / spec_.kv_heads);
  const int32_t position = s.first + token;
  std::vector<std::vector<float>> k, v;
  std::vector<num::AttentionRow> rows;
  for (int32_t t = 0; t <= position; ++t) {
    k.push_back(row(0, span, kv_head, t, position));
    v.push_back(row(1, span, kv_head, t, position));
    rows.push_back({t, k.back().data(), v.back().data()});
  }
  std::vector<float> out(static_cast<size_t>(spec_.dim));
  const auto at = static_cast<size_t>((s.row + token) * spec_.q_heads + head);
  num::plain::attend(std::span(q_).subspan(at * out.size(), out.size()), rows, out);
  return out;
}

AttendResult AttendCase::run(gpu::AttendForm form) const { return run(&form); }
AttendResult AttendCase::run_chosen() const { return run(nullptr); }

AttendOnDevice AttendCase::upload(const gpu::AttendForm* form) const {
  AttendOnDevice d;
  int used = 0;
  const auto put = [&](const auto& data) { return test::upload(d.memory[used++], data); };
  gpu::AttendArgs& args = d.args;
  args = case_args(
      spec_, side_, {q_, pages_, spans_, rows_}, [this](int side) { return host_view(side); }, put);
  const gpu::CacheShape& shape = args.view[0].shape;
  const int64_t scratch_floats =
      form ? gpu::attend_scratch_floats(*form, args.pass, shape, spec_.q_heads)
           : gpu::attend_scratch_floats(args.pass, shape, spec_.q_heads);
  d.scratch_floats = scratch_floats;
  args.out = put(fenced(static_cast<int64_t>(q_.size()))) + kFence;
  args.scratch = put(fenced(scratch_floats)) + kFence;
  return d;
}

AttendResult AttendCase::run(const gpu::AttendForm* form) const {
  const AttendOnDevice d = upload(form);
  if (form)
    attend_with(spec_.codec, *form, d.args);
  else
    attend_with(spec_.codec, d.args);

  const auto back = [](const float* from, std::vector<float>& to) {
    gpu::check(
        cudaMemcpy(to.data(), from - kFence, to.size() * sizeof(float), cudaMemcpyDeviceToHost),
        "copy from the device");
  };
  std::vector<float> out(q_.size() + 2 * kFence);
  std::vector<float> scratch(static_cast<size_t>(d.scratch_floats) + 2 * kFence);
  back(d.args.out, out);
  back(d.args.scratch, scratch);
  AttendResult result;
  result.fences = fences_intact(out) && fences_intact(scratch);
  result.out.assign(out.begin() + kFence, out.end() - kFence);
  return result;
}

std::string AttendCase::compare(const std::vector<float>& out, int64_t queries) const {
  const int64_t all = int64_t{rows_} * spec_.q_heads;
  const int64_t step = std::max<int64_t>(1, all / queries) | 1;
  std::string report;
  int64_t different = 0;
  const auto look = [&](int64_t query) {
    const auto row = static_cast<int32_t>(query / spec_.q_heads);
    const auto head = static_cast<int>(query % spec_.q_heads);
    int span = 0;
    while (row >= spans_[static_cast<size_t>(span)].row + spans_[static_cast<size_t>(span)].count)
      ++span;
    const int32_t token = row - spans_[static_cast<size_t>(span)].row;
    const std::vector<float> want = expected(span, token, head);
    for (size_t c = 0; c < want.size(); ++c) {
      const float got = out[static_cast<size_t>(query) * want.size() + c];
      const auto a = std::bit_cast<uint32_t>(got), b = std::bit_cast<uint32_t>(want[c]);
      if (a == b || (got != got && want[c] != want[c])) continue;
      if (++different > 6) continue;
      char line[160];
      std::snprintf(line, sizeof line,
                    "  span %d token %d (position %d) head %d channel %zu: %08x, expected %08x\n",
                    span, token, spans_[static_cast<size_t>(span)].first + token, head, c, a, b);
      report += line;
    }
  };
  for (int64_t query = 0; query < all; query += step) look(query);
  for (int64_t query = std::max<int64_t>(0, all - 2); query < all; ++query) look(query);
  if (different) report += "  " + std::to_string(different) + " values differ\n";
  return report;
}

}  // namespace kvx::test
