#include "sim/num/fixed_steps.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace kvx::num::fixed {
namespace {

constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
constexpr int32_t kMagicBits = 0x4B400000;

}  // namespace

int32_t nearest(float a) { return std::bit_cast<int32_t>(a + kMagic) - kMagicBits; }

int32_t nearest(float a, float b) {
  return std::bit_cast<int32_t>(std::fma(a, b, kMagic)) - kMagicBits;
}

float power(int e) {
  return e < -100 ? 0.0f : std::bit_cast<float>(static_cast<uint32_t>(e + 127) << 23);
}

int exponent(float x, uint32_t carry) {
  return static_cast<int>((std::bit_cast<uint32_t>(x) + carry) >> 23) - 127;
}

QueryDigits query_digits(std::span<const float> q, const float* scale) {
  QueryDigits digits;
  std::array<float, kMaxDim> y;
  float greatest = 0;
  for (size_t j = 0; j < q.size(); ++j) {
    y[j] = scale ? q[j] * scale[j] : q[j];
    greatest = std::max(greatest, std::fabs(y[j]));
  }
  digits.e = std::max(exponent(greatest, 0x20000), kExponentFloor);
  for (size_t j = 0; j < q.size(); ++j) digits.y[j] = nearest(y[j], power(14 - digits.e));
  return digits;
}

float zero_sum(std::span<const float> q, const float* zero) {
  std::array<float, kMaxDim / 4> r{};
  const size_t chains = (q.size() + 3) / 4;
  for (size_t j = 0; j < q.size(); ++j) r[j / 4] = std::fma(q[j], zero ? zero[j] : 1.0f, r[j / 4]);
  for (size_t half = std::bit_ceil(chains) / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) r[i] = r[i] + r[i + half];
  return r[0];
}

Weights weights(std::span<const float, kTile> x, std::span<const bool, kTile> visible) {
  Weights w;
  std::array<int32_t, kTile> n{};
  bool any = false;
  for (size_t i = 0; i < kTile; ++i) {
    if (!visible[i]) continue;
    n[i] = nearest(x[i]);
    w.m = any ? std::max(w.m, n[i]) : n[i];
    any = true;
  }
  for (size_t i = 0; i < kTile; ++i) {
    if (!visible[i]) continue;
    const float f = x[i] - ((x[i] + kMagic) - kMagic);
    float poly = 0x1.3a02c6p-7f;
    poly = std::fma(poly, f, 0x1.c9fc46p-5f);
    poly = std::fma(poly, f, 0x1.ec0368p-3f);
    poly = std::fma(poly, f, 0x1.62e142p-1f);
    poly = std::fma(poly, f, 1.0f);
    w.p[i] = poly * power(std::max(n[i] - w.m, -100) + 21);
    w.l += nearest(w.p[i]);
  }
  return w;
}

ValueDigits value_digits(std::span<const float, kTile> p, std::span<const float, kTile> scale,
                         std::span<const float, kTile> zero) {
  ValueDigits v;
  std::array<float, kTile> u;
  float greatest = 0, zero_greatest = 0;
  for (size_t i = 0; i < kTile; ++i) {
    u[i] = p[i] * scale[i];
    greatest = std::max(greatest, u[i]);
    zero_greatest = std::max(zero_greatest, std::fabs(zero[i]));
  }
  v.eu = std::max(exponent(greatest, 0x80) - 21, kExponentFloor);
  v.ez = std::max(exponent(zero_greatest, 0), kExponentFloor);
  for (size_t i = 0; i < kTile; ++i) v.digits[i] = nearest(u[i], power(15 - 21 - v.eu));
  for (size_t i = 0; i < kTile; i += 4) {
    float b = 0;
    for (size_t k = i; k < i + 4; ++k) b = std::fma(p[k], zero[k], b);
    v.zi += nearest(b, power(-3 - v.ez));
  }
  return v;
}

Partial::Partial(int groups, int dim)
    : z(static_cast<size_t>(groups)), o(static_cast<size_t>(dim)) {}

void Partial::clear() {
  m = kNothing;
  l = 0;
  std::fill(z.begin(), z.end(), 0.0f);
  std::fill(o.begin(), o.end(), 0.0f);
}

void Partial::raise(int to) {
  if (to <= m) return;
  const float a = power(m - to);
  l = l * a;
  for (float& x : z) x = x * a;
  for (float& x : o) x = x * a;
  m = to;
}

void Partial::fold(const Partial& x) {
  if (x.m == kNothing) return;
  raise(x.m);
  const float b = power(x.m - m);
  l = std::fma(x.l, b, l);
  for (size_t g = 0; g < z.size(); ++g) z[g] = std::fma(x.z[g], b, z[g]);
  for (size_t j = 0; j < o.size(); ++j) o[j] = std::fma(x.o[j], b, o[j]);
}

void Partial::out(std::span<float> row) const {
  const size_t group = row.size() / z.size();
  for (size_t j = 0; j < row.size(); ++j)
    row[j] = m == kNothing ? 0.0f : (o[j] + z[j / group]) / l + 0.0f;
}

}  // namespace kvx::num::fixed
