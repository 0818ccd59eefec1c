#include "ref/kvquant/row_coder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::ref::kvquant {
namespace {

float h(float x) { return num::f16_round(x); }

float without_payload(float x) {
  return std::isnan(x) ? std::numeric_limits<float>::quiet_NaN() : x;
}

// q = the first i with the least |u - c_i|; 0 where none compares.
void nearest(std::span<const float> book, std::span<const float> u, std::span<uint8_t> codes) {
  constexpr size_t kPart = 64;
  std::array<float, kPart> best;
  std::array<int32_t, kPart> code;
  for (size_t from = 0; from < u.size(); from += kPart) {
    const size_t count = std::min(kPart, u.size() - from);
    for (size_t j = 0; j < count; ++j) {
      best[j] = std::abs(u[from + j] - book[0]);
      code[j] = 0;
    }
    for (size_t i = 1; i < book.size(); ++i) {
      for (size_t j = 0; j < count; ++j) {
        const float distance = std::abs(u[from + j] - book[i]);
        const bool nearer = distance < best[j];
        best[j] = nearer ? distance : best[j];
        code[j] = nearer ? static_cast<int32_t>(i) : code[j];
      }
    }
    for (size_t j = 0; j < count; ++j) codes[from + j] = static_cast<uint8_t>(code[j]);
  }
}

}  // namespace

RowCoder::RowCoder(const Settings& settings, Side side, SideTables tables, int64_t channels)
    : settings_(settings),
      axis_(settings.axis(side)),
      tables_(std::move(tables)),
      channels_(channels),
      outliers_per_side_(outliers_per_side(settings, channels)) {
  if (channels > 65536) {
    throw usage_error("kvquant: " + std::to_string(channels) +
                      " channels of a layer: more than 65536");
  }
  if (axis_ == Axis::kToken && 2 * outliers_per_side_ >= channels && settings.sparse()) {
    throw usage_error("kvquant: 2/o=" + std::to_string(settings.quantile) + " makes " +
                      std::to_string(2 * outliers_per_side_) + " outliers of the " +
                      std::to_string(channels) + " channels of a token");
  }
  for (const float c : tables_.codebook) {
    float value = settings_.type == Type::kNf ? h(c) : c;
    if (settings_.qnorm) value = tables_.qnorm[0] * c + tables_.qnorm[1];
    decoded_book_.push_back(value);
  }
  for (size_t j = 0; j < tables_.lo.size(); ++j) {
    scales_.push_back(scale_of(tables_.lo[j], tables_.hi[j]));
    lo_.push_back(num::f16_decode(tables_.lo[j]));
    hi_.push_back(num::f16_decode(tables_.hi[j]));
  }
}

//   z = fl(fl(hi + lo) .5)   r = fl(fl(hi - lo) .5)       zr=fp16: every step rounded to fp16
//   k = fl(fl(1 / fl(hi - lo)) Q)  o = fl(lo k), Q = 2^b - 1          intB, profile repo
//   k = fl(Q / fl(hi - lo))        o alike, that of a token whole     intB, profile paper
RowCoder::Scale RowCoder::scale_of(uint16_t lo_bits, uint16_t hi_bits) const {
  const float lo = num::f16_decode(lo_bits), hi = num::f16_decode(hi_bits);
  const bool half = settings_.half_ranges && axis_ == Axis::kChannel;
  const auto fl = [half](float x) { return half ? h(x) : x; };
  if (settings_.type != Type::kInt) {
    return {fl(fl(hi + lo) * 0.5f), fl(fl(hi - lo) * 0.5f)};
  }
  const auto top = static_cast<float>(settings_.codes() - 1);
  const float range = fl(hi - lo);
  const float k = settings_.paper ? top / range : fl(fl(1.0f / range) * top);
  float o = fl(lo * k);
  if (settings_.paper && axis_ == Axis::kToken) {
    o = std::isnan(o) ? o : std::clamp(std::nearbyint(o), -top, 0.0f);
  }
  return {o, k};
}

void RowCoder::mark(std::span<const float> x, CodedRow& out, TokenRange& range) const {
  if (axis_ == Axis::kToken) {
    std::vector<uint16_t> bits(x.size());
    num::f16_encode(x, bits);
    std::vector<int> order(x.size());
    std::transform(bits.begin(), bits.end(), order.begin(), order_of);
    settings_.paper ? range_by_rank(order, outliers_per_side_, range)
                    : range_by_value(order, outliers_per_side_, range);
    out.lo = range.lo;
    out.hi = range.hi;
    return;
  }
  out.lo = out.hi = 0;
  range.marks.assign(x.size(), 0);
  if (!settings_.sparse()) return;
  for (size_t j = 0; j < x.size(); ++j) range.marks[j] = x[j] > hi_[j] || x[j] < lo_[j];
}

void RowCoder::encode(std::span<const float> x, CodedRow& out) const {
  out.codes.resize(x.size());
  out.outliers.clear();
  TokenRange range;
  mark(x, out, range);
  std::vector<Scale> of_token;
  if (axis_ == Axis::kToken) of_token.assign(x.size(), scale_of(out.lo, out.hi));
  const std::span<const Scale> scales = axis_ == Axis::kToken ? of_token : scales_;
  const bool integers = settings_.type == Type::kInt;
  integers ? encode_integers(x, scales, range.marks, out)
           : encode_levels(x, scales, range.marks, out);
  for (size_t j = 0; j < x.size(); ++j) {
    if (range.marks[j] == 0) continue;
    const bool itself = settings_.paper || integers;
    out.outliers.push_back(
        {static_cast<uint32_t>(j), without_payload(itself ? x[j] : x[j] - scales[j].a)});
  }
}

//   u = fl(fl(x - z) / r), 0 at outliers of profile repo; q = the nearest c; r = 0: q = 0
void RowCoder::encode_levels(std::span<const float> x, std::span<const Scale> scales,
                             std::span<const uint8_t> marks, CodedRow& out) const {
  std::vector<float> u(x.size());
  for (size_t j = 0; j < x.size(); ++j) u[j] = (x[j] - scales[j].a) / scales[j].b;
  if (!settings_.paper) {
    for (size_t j = 0; j < x.size(); ++j) u[j] = marks[j] != 0 ? 0.0f : u[j];
  }
  nearest(tables_.codebook, u, out.codes);
  for (size_t j = 0; j < x.size(); ++j) {
    if (scales[j].b == 0.0f) out.codes[j] = 0;
  }
}

//   q = clip(RNE(fl(fl(k x) - o)), 0, Q), x = 0 at outliers of profile repo; NaN gives 0
void RowCoder::encode_integers(std::span<const float> x, std::span<const Scale> scales,
                               std::span<const uint8_t> marks, CodedRow& out) const {
  const auto top = static_cast<float>(settings_.codes() - 1);
  for (size_t j = 0; j < x.size(); ++j) {
    const float value = !settings_.paper && marks[j] != 0 ? 0.0f : x[j];
    const float t = std::nearbyint(scales[j].b * value - scales[j].a);
    out.codes[j] = std::isnan(t) ? uint8_t{0} : static_cast<uint8_t>(std::clamp(t, 0.0f, top));
  }
}

//   x^ = fl(fl(c r) + z)     nf with zr=fp16: h(c r), and without outliers h of the sum
//   x^ = fl(fl(q + o) / k)   intB
// and 0 where that is not finite; an outlier is its value, profile repo: fl(value + z) if not intB.
void RowCoder::decode(std::span<const uint8_t> codes, uint16_t lo, uint16_t hi,
                      std::span<const Outlier> outliers, std::span<float> x) const {
  std::vector<Scale> of_token;
  if (axis_ == Axis::kToken) of_token.assign(x.size(), scale_of(lo, hi));
  const std::span<const Scale> scales = axis_ == Axis::kToken ? of_token : scales_;
  const bool integers = settings_.type == Type::kInt;
  if (integers) {
    for (size_t j = 0; j < x.size(); ++j) {
      x[j] = (static_cast<float>(codes[j]) + scales[j].a) / scales[j].b;
    }
  } else {
    for (size_t j = 0; j < x.size(); ++j) x[j] = decoded_book_[codes[j]];
    for (size_t j = 0; j < x.size(); ++j) x[j] = x[j] * scales[j].b;
    const bool half =
        settings_.type == Type::kNf && settings_.half_ranges && axis_ == Axis::kChannel;
    if (half) num::f16_round(x, x);
    for (size_t j = 0; j < x.size(); ++j) x[j] = x[j] + scales[j].a;
    if (half && !settings_.sparse()) num::f16_round(x, x);
  }
  if (!settings_.paper && !integers) {
    for (const Outlier& one : outliers) x[one.channel] = one.value + scales[one.channel].a;
  } else if (!settings_.paper) {
    for (const Outlier& one : outliers) x[one.channel] = one.value;
  }
  for (float& value : x) value = std::isfinite(value) ? value : 0.0f;
  if (settings_.paper) {
    for (const Outlier& one : outliers) x[one.channel] = one.value;
  }
}

}  // namespace kvx::ref::kvquant
