#include "tests/gpu/fused_case.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "gpu/common/check.h"
#include "sim/num/formats.h"
#include "tests/gpu/case_args.h"

namespace kvx::test {
namespace {

constexpr int64_t kFence = 64;  // floats
constexpr float kFenceValue = 0x1.23456p+45f;

size_t at(int64_t i) { return static_cast<size_t>(i); }

std::vector<float> fenced(int64_t count) {
  return std::vector<float>(at(count + 2 * kFence), kFenceValue);
}

bool intact(const std::vector<float>& data) {
  return std::all_of(data.begin(), data.begin() + kFence,
                     [](float x) { return x == kFenceValue; }) &&
         std::all_of(data.end() - kFence, data.end(), [](float x) { return x == kFenceValue; });
}

// Of one of the tensors of a span: K, V, q.
uint64_t draw_seed(uint64_t seed, int id, int tensor) {
  return seed * 1000003 + static_cast<uint64_t>(id) * 3 + static_cast<uint64_t>(tensor);
}

template <class T>
T* base(std::vector<T>& data) {
  return data.data();
}

}  // namespace

std::string FusedSpec::name() const {
  std::string text = "d " + std::to_string(dim) + ", heads " + std::to_string(q_heads) + "/" +
                     std::to_string(kv_heads) + (reads == gpu::Reads::kAll ? ", all" : "") +
                     ", range " + std::to_string(static_cast<int>(range));
  for (const FusedSide& s : side)
    text += ", " + std::to_string(s.bits) + " bits g" + std::to_string(s.group) +
            (s.along_tokens ? "t" : "c") + " zero " + std::to_string(static_cast<int>(s.zero)) +
            " rule " + std::to_string(s.rule.unit) + " " + std::to_string(s.rule.window) + " " +
            std::to_string(s.rule.lag);
  for (const SpanSpec& span : spans)
    text += ", " + std::to_string(span.first) + "+" + std::to_string(span.count) +
            (span.exact ? " exact" : "");
  return text;
}

gpu::SideFormat FusedCase::format(int side) const {
  const FusedSide& s = spec_.side[side];
  return {.bits = s.bits,
          .group = s.group,
          .along_tokens = s.along_tokens,
          .scale_bytes = 2,
          .zero_bytes = s.zero == ZeroPoint::kSymmetric ? 0 : 2,
          .rule = s.rule};
}

gpu::fused::AffineScheme FusedCase::scheme() const {
  gpu::fused::AffineScheme scheme;
  for (int i = 0; i < 2; ++i) {
    const FusedSide& s = spec_.side[i];
    const uint32_t half = 1u << (s.bits - 1);
    if (s.zero == ZeroPoint::kNegated) scheme.side[i].zero_factor = -1.0f;
    if (s.zero == ZeroPoint::kSymmetric)
      scheme.side[i] = {.flip = half, .zero_factor = -static_cast<float>(half)};
  }
  return scheme;
}

FusedCase::FusedCase(const FusedSpec& spec, uint64_t seed) : spec_(spec) {
  int32_t longest = 0;
  for (const SpanSpec& s : spec.spans) {
    spans_.push_back({.first = s.first,
                      .slot = static_cast<int32_t>(spans_.size()),
                      .count = s.count,
                      .row = rows_,
                      .exact = s.exact ? 1 : 0});
    rows_ += s.count;
    longest = std::max(longest, s.first + s.count);
  }
  // Pages in no order; slots the other way round.
  const auto slots = static_cast<int32_t>(spans_.size());
  pages_per_slot_ = (longest + spec.page_tokens - 1) / spec.page_tokens;
  page_count_ = slots * pages_per_slot_ + 1;
  for (gpu::PassSpan& span : spans_) span.slot = slots - 1 - span.slot;
  for (int32_t i = 0; i < slots * pages_per_slot_; ++i) pages_.push_back(page_count_ - 1 - i);
  for (size_t i = 0; i + 1 < pages_.size(); i += 3)
    std::swap(pages_[i], pages_[pages_.size() - 1 - i]);

  for (int side = 0; side < 2; ++side) fill(side, seed);
  FixedShape shape{};
  shape.dim = spec.dim, shape.range = spec.range;
  for (size_t span = 0; span < spans_.size(); ++span) {
    FixedDraw draw(draw_seed(seed, spec.first_id + static_cast<int>(span), 2));
    for (int64_t i = 0; i < int64_t{spans_[span].count} * spec.q_heads; ++i) {
      const std::vector<float> q = fixed_query(draw, shape);
      q_.insert(q_.end(), q.begin(), q.end());
    }
  }
}

gpu::SideView FusedCase::host_view(int side) const {
  auto& h = const_cast<Host&>(side_[side]);
  gpu::SideView v;
  v.format = format(side);
  v.shape = shape();
  v.codes = base(h.codes), v.scale = base(h.scale), v.zero = base(h.zero);
  v.ring = base(h.ring);
  v.pages = pages_.data(), v.pages_per_slot = pages_per_slot_;
  return v;
}

// Whatever no query may read is all ones: scales and zeros that are no numbers.
void FusedCase::fill(int side, uint64_t seed) {
  Host& h = side_[side];
  const gpu::SideFormat f = format(side);
  const int64_t heads = spec_.kv_heads, d = spec_.dim, page_heads = page_count_ * heads;
  const int64_t groups = page_heads * page_groups(f, shape());
  h.codes.assign(at(page_heads * spec_.page_tokens * f.row_bytes(spec_.dim)), std::byte{0xFF});
  h.scale.assign(at(groups * 2), std::byte{0xFF});
  h.zero.assign(at(groups * f.zero_bytes), std::byte{0xFF});
  h.ring.assign(at(int64_t(spans_.size()) * heads * f.rule.ring_rows() * d), 0xFFFF);
  h.pass.assign(at(rows_ * heads * d), 0.0f);
  for (size_t span = 0; span < spans_.size(); ++span) {
    FixedDraw draw(draw_seed(seed, spec_.first_id + static_cast<int>(span), side));
    for (int head = 0; head < spec_.kv_heads; ++head)
      fill_rows(side, static_cast<int>(span), head, draw);
  }
}

void FusedCase::fill_rows(int side, int index, int head, FixedDraw& draw) {
  const gpu::PassSpan& span = spans_[at(index)];
  const gpu::SideView view = host_view(side);
  const gpu::SideFormat& f = view.format;
  const FusedSide& form = spec_.side[side];
  const int32_t length = span.first + span.count;
  const int32_t sealed = span.exact ? 0 : f.rule.sealed(length);
  FixedShape shape{};
  shape.dim = spec_.dim, shape.rows = sealed, shape.range = spec_.range;
  (side == 0 ? shape.k_bits : shape.v_bits) = f.bits;
  (side == 0 ? shape.k_group : shape.v_group) = f.group;
  shape.k_along = f.along_tokens ? num::fixed::Along::kTokens : num::fixed::Along::kChannels;
  const FixedSide drawn = fixed_side(draw, shape, side == 0);

  Rows rows;
  rows.codes = drawn.codes;
  const uint32_t flip = scheme().side[side].flip;
  for (size_t i = 0; i < drawn.scale.size(); ++i) {
    const float s = drawn.scale[i];
    rows.scale.push_back(s);
    rows.zero.push_back(form.zero == ZeroPoint::kSymmetric
                            ? -static_cast<float>(1 << (f.bits - 1)) * s
                            : drawn.zero[i]);
  }
  const int d = spec_.dim;
  for (int32_t t = 0; t < sealed; ++t) {
    std::byte* to = view.row(span.slot, head, t);
    std::fill_n(to, f.row_bytes(d), std::byte{0});
    for (int c = 0; c < d; ++c) {
      const uint32_t code = rows.codes[at(int64_t{t} * d + c)] ^ flip;
      for (int b = 0; b < f.bits; ++b)
        to[(c * f.bits + b) / 8] |=
            static_cast<std::byte>((code >> b & 1u) << ((c * f.bits + b) % 8));
      const int64_t from =
          f.along_tokens ? int64_t{t / f.group} * d + c : int64_t{t} * (d / f.group) + c / f.group;
      const int64_t g = view.group_of(span.slot, head, t, c);
      const uint16_t scale = num::f16_encode(drawn.scale[at(from)]);
      std::memcpy(view.scale + g * 2, &scale, 2);
      if (f.zero_bytes == 0) continue;
      const float z = drawn.zero[at(from)];
      const uint16_t zero = num::f16_encode(form.zero == ZeroPoint::kNegated ? -z : z);
      std::memcpy(view.zero + g * 2, &zero, 2);
    }
  }
  const float spread = spec_.range == FixedRange::kPlain ? 1.0f : 20.0f;
  rows.exact.resize(at(int64_t{length} * d));
  for (int32_t t = 0; t < length; ++t)
    for (int c = 0; c < d; ++c) {
      float& x = rows.exact[at(int64_t{t} * d + c)];
      x = draw.normal() * spread;
      const bool rounded = !span.exact || spec_.type == gpu::ScalarType::kF16;
      if (t >= span.first)
        side_[side].pass[at((int64_t{span.row + t - span.first} * spec_.kv_heads + head) * d + c)] =
            spec_.type == gpu::ScalarType::kF16 ? fixed_f16(x) : x;
      if (rounded) x = fixed_f16(x);
      if (t < span.first && t >= span.first - f.rule.ring_rows())
        view.exact_row(span.slot, head, t)[c] = num::f16_encode(x);
    }
  side_[side].rows.push_back(std::move(rows));
}

std::vector<num::fixed::RowRead> FusedCase::reads(int side, int index, int head,
                                                  int32_t position) const {
  const gpu::PassSpan& span = spans_[at(index)];
  const gpu::SealRule& rule = spec_.side[side].rule;
  const int32_t boundary = span.exact                        ? 0
                           : spec_.reads == gpu::Reads::kAll ? rule.sealed(span.first + span.count)
                                                             : rule.read_sealed(position);
  const int32_t end = position + 1, sealed = std::min(boundary, end);
  const Rows& rows = side_[side].rows[at(index * spec_.kv_heads + head)];
  std::vector<num::fixed::RowRead> map;
  if (sealed > 0) map.push_back({0, sealed, nullptr});
  if (sealed < end)
    map.push_back({sealed, end - sealed, rows.exact.data() + int64_t{sealed} * spec_.dim});
  return map;
}

std::vector<float> FusedCase::expected(int index, int32_t token, int head) const {
  const gpu::PassSpan& span = spans_[at(index)];
  const int kv_head = head / (spec_.q_heads / spec_.kv_heads);
  const int32_t position = span.first + token;
  num::fixed::Head content{.dim = spec_.dim, .k = {}, .v = {}};
  for (int side = 0; side < 2; ++side) {
    const Rows& rows = side_[side].rows[at(index * spec_.kv_heads + kv_head)];
    (side == 0 ? content.k : content.v) = {
        rows.codes.data(),
        rows.scale.data(),
        rows.zero.data(),
        spec_.side[side].along_tokens ? num::fixed::Along::kTokens : num::fixed::Along::kChannels,
        spec_.side[side].group,
        0};
  }
  const auto k = reads(0, index, kv_head, position), v = reads(1, index, kv_head, position);
  std::vector<float> out(at(spec_.dim));
  const num::fixed::Query query{
      q_.data() + (int64_t{span.row + token} * spec_.q_heads + head) * spec_.dim, k, v, out.data()};
  num::fixed::plain::attend(content, {&query, 1});
  return out;
}

std::vector<float> FusedCase::run(gpu::fused::FusedForm form, bool* fences) const {
  return run(form, fences, [](const auto& enqueue) { enqueue(nullptr); });
}

std::vector<float> FusedCase::run(gpu::fused::FusedForm form, bool* fences,
                                  const Launch& launch) const {
  gpu::DeviceArray<std::byte> memory[16];
  int used = 0;
  const auto put = [&](const auto& data) {
    using T = typename std::decay_t<decltype(data)>::value_type;
    const auto bytes = static_cast<int64_t>(data.size() * sizeof(T));
    memory[used] = gpu::DeviceArray<std::byte>(bytes);
    if (bytes > 0)
      memory[used].upload({reinterpret_cast<const std::byte*>(data.data()), at(bytes)});
    return reinterpret_cast<T*>(memory[used++].get());
  };
  gpu::AttendArgs args = case_args(
      spec_, side_, {q_, pages_, spans_, rows_}, [this](int side) { return host_view(side); }, put);
  std::vector<float> out = fenced(static_cast<int64_t>(q_.size()));
  std::vector<float> scratch =
      fenced(gpu::fused::scratch_floats(form, args.pass, shape(), spec_.q_heads, format(1)));
  const float* const device_out = put(out);
  const float* const device_scratch = put(scratch);
  args.out = const_cast<float*>(device_out) + kFence;
  args.scratch = const_cast<float*>(device_scratch) + kFence;
  launch([&](cudaStream_t stream) { gpu::fused::attend(form, scheme(), args, stream); });
  const auto back = [](const float* from, std::vector<float>& to) {
    gpu::check(cudaMemcpy(to.data(), from, to.size() * sizeof(float), cudaMemcpyDeviceToHost),
               "copy from the device");
  };
  back(device_out, out);
  back(device_scratch, scratch);
  *fences = intact(out) && intact(scratch);
  return {out.begin() + kFence, out.end() - kFence};
}

std::string FusedCase::compare(const std::vector<float>& out, int queries) const {
  const int64_t all = int64_t{rows_} * spec_.q_heads;
  const int64_t step = std::max<int64_t>(1, all / queries) | 1;
  std::string report;
  int64_t different = 0;
  for (int64_t i = 0; i < all; i += i + step < all || i == all - 1 ? step : all - 1 - i) {
    const auto row = static_cast<int32_t>(i / spec_.q_heads);
    const auto head = static_cast<int>(i % spec_.q_heads);
    int span = 0;
    while (row >= spans_[at(span)].row + spans_[at(span)].count) ++span;
    const int32_t token = row - spans_[at(span)].row;
    const std::vector<float> want =
        spans_[at(span)].exact ? std::vector<float>(at(spec_.dim), kFenceValue)  // not touched
                               : expected(span, token, head);
    for (size_t c = 0; c < want.size(); ++c) {
      const auto a = std::bit_cast<uint32_t>(out[at(i) * want.size() + c]);
      const auto b = std::bit_cast<uint32_t>(want[c]);
      if (a == b || ++different > 6) continue;
      char line[160];
      std::snprintf(line, sizeof line,
                    "  span %d token %d (position %d) head %d channel %zu: %08x, expected %08x\n",
                    span, token, spans_[at(span)].first + token, head, c, a, b);
      report += line;
    }
  }
  if (different > 0) report += "  " + std::to_string(different) + " values differ\n";
  return report;
}

}  // namespace kvx::test
