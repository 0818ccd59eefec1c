// The definition of every order of summation: plain loops, in the words of ieee.md, section 2.
#include <array>
#include <cmath>
#include <limits>

#include "sim/num/attention.h"
#include "sim/num/elementary.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"

namespace kvx::num {

float attention_scale(int head_dim) {
  return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)));
}

namespace plain {
namespace {

template <class T>
using Lanes = std::array<T, kSumLanes>;

template <class T>
T tree(Lanes<T>& a) {
  for (int h = kSumLanes / 2; h >= 1; h /= 2)
    for (int j = 0; j < h; ++j) a[j] = a[j] + a[j + h];
  return a[0];
}

template <class T>
T lane_sum(std::span<const T> x) {
  Lanes<T> a{};
  for (size_t i = 0; i < x.size(); ++i) a[i % kSumLanes] = a[i % kSumLanes] + x[i];
  return tree(a);
}

}  // namespace

float dot(std::span<const float> a, std::span<const float> b) {
  float total = 0.0f;
  for (size_t block = 0; block < a.size(); block += kDotBlock) {
    const size_t end = block + kDotBlock < a.size() ? block + kDotBlock : a.size();
    float c = 0.0f;
    for (size_t k = block; k < end; ++k) c = std::fma(a[k], b[k], c);
    total = block == 0 ? c : total + c;
  }
  return total + 0.0f;
}

float sum(std::span<const float> x) { return lane_sum(x); }
double sum(std::span<const double> x) { return lane_sum(x); }

float sum_squares(std::span<const float> x) {
  Lanes<float> a{};
  for (size_t i = 0; i < x.size(); ++i) a[i % kSumLanes] = std::fma(x[i], x[i], a[i % kSumLanes]);
  return tree(a);
}

float max(std::span<const float> x) {
  float greatest = -std::numeric_limits<float>::infinity();
  for (const float value : x) {
    if (std::isnan(value)) return value;
    if (value > greatest) greatest = value;
  }
  return greatest + 0.0f;
}

int64_t argmax(std::span<const float> x) {
  int64_t best = -1;
  for (size_t i = 0; i < x.size(); ++i)
    if (!std::isnan(x[i]) && (best < 0 || x[i] > x[static_cast<size_t>(best)]))
      best = static_cast<int64_t>(i);
  return best;
}

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y) {
  const float mean = sum_squares(x) / static_cast<float>(x.size());
  const float r = rsqrt(mean + eps);
  for (size_t i = 0; i < x.size(); ++i) y[i] = (x[i] * r) * weight[i];
}

void softmax(std::span<const float> x, std::span<float> p) {
  const float m = max(x);
  for (size_t i = 0; i < x.size(); ++i) p[i] = exp(x[i] - m);
  const float s = sum(p);
  for (float& value : p) value = value / s;
}

void swiglu(std::span<const float> g, std::span<const float> u, std::span<float> h) {
  for (size_t i = 0; i < g.size(); ++i) h[i] = silu(g[i]) * u[i];
}

double log_sum_exp(std::span<const float> z) {
  const float m = max(z);
  Lanes<double> s{};
  for (size_t v = 0; v < z.size(); ++v)
    s[v % kSumLanes] = s[v % kSumLanes] + static_cast<double>(exp(z[v] - m));
  return log64(tree(s)) + static_cast<double>(m);
}

double kl_divergence(std::span<const float> z, double lse_z, std::span<const float> w,
                     double lse_w) {
  const float m = max(z);
  Lanes<double> s{};
  Lanes<double> d{};
  for (size_t v = 0; v < z.size(); ++v) {
    const size_t lane = v % kSumLanes;
    const double e = static_cast<double>(exp(z[v] - m));
    s[lane] = s[lane] + e;
    d[lane] = std::fma(e, static_cast<double>(z[v]) - static_cast<double>(w[v]), d[lane]);
  }
  return tree(d) / tree(s) + (lse_w - lse_z);
}

void attend(std::span<const float> q, std::span<const AttentionRow> rows, std::span<float> out) {
  const size_t dim = q.size();
  const float c = attention_scale(static_cast<int>(dim));
  float running_max = -std::numeric_limits<float>::infinity();
  float total = 0.0f;
  for (float& value : out) value = 0.0f;
  size_t next = 0;
  while (next < rows.size()) {
    const size_t first = next;
    const int64_t segment = rows[first].number / kSegment;
    std::array<float, kSegment> scores;
    while (next < rows.size() && rows[next].number / kSegment == segment) {
      scores[next - first] = dot(q, {rows[next].k, dim}) * c;
      ++next;
    }
    const size_t visible = next - first;
    const float m = std::ceil(max({scores.data(), visible}));

    std::array<float, kSegment> p{};
    for (size_t i = 0; i < visible; ++i)
      p[static_cast<size_t>(rows[first + i].number % kSegment)] = exp2(scores[i] - m);
    const float l = sum(std::span<const float>(p));

    const std::array<float, 2> maxima = {running_max, m};
    const float new_max = max(maxima);
    const float a = exp2(running_max - new_max);
    const float b = exp2(m - new_max);
    total = std::fma(l, b, total * a);
    for (size_t j = 0; j < dim; ++j) {
      float o = 0.0f;
      for (size_t i = first; i < next; ++i)
        o = std::fma(p[static_cast<size_t>(rows[i].number % kSegment)], rows[i].v[j], o);
      out[j] = std::fma(o, b, out[j] * a);
    }
    running_max = new_max;
  }
  for (float& value : out) value = rows.empty() ? 0.0f : value / total + 0.0f;
}

}  // namespace plain
}  // namespace kvx::num
