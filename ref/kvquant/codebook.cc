#include "ref/kvquant/codebook.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvx::ref::kvquant {
namespace {

// Calls use(u, w) for every row behind the sink of a window.
template <class Use>
void for_rows(const Elements& elements, int64_t window, Weight weight, const Use& use) {
  std::vector<float> u(static_cast<size_t>(elements.channels()));
  std::vector<double> w(u.size());
  for (int64_t t = elements.sink(); t < elements.tokens(window); ++t) {
    elements.row(window, t, weight, u, w);
    use(u, w);
  }
}

// The least binary32 above each midpoint: u belongs to cell #{k : u >= threshold k}.
std::vector<float> thresholds(std::span<const double> c) {
  std::vector<float> out;
  for (size_t k = 0; k + 1 < c.size(); ++k) {
    const double middle = (c[k] + c[k + 1]) / 2;
    const float near = static_cast<float>(middle);
    out.push_back(static_cast<double>(near) > middle
                      ? near
                      : std::nextafter(near, std::numeric_limits<float>::infinity()));
  }
  return out;
}

void find_cells(std::span<const float> thresholds, std::span<const float> u,
                std::vector<int32_t>& cell) {
  cell.assign(u.size(), 0);
  for (const float threshold : thresholds)
    for (size_t i = 0; i < u.size(); ++i) cell[i] += u[i] >= threshold ? 1 : 0;
}

// Sums over the elements of each cell, in the order of the bins.
std::vector<Bin> cell_sums(const Elements& elements, Weight weight, std::span<const double> c) {
  const std::vector<float> above = thresholds(c);
  std::vector<Bin> total(c.size());
  std::vector<int32_t> cell;
  for (int64_t window = 0; window < elements.windows(); ++window) {
    std::vector<Bin> sums(c.size());
    for_rows(elements, window, weight, [&](std::span<const float> u, std::span<const double> w) {
      find_cells(above, u, cell);
      for (size_t i = 0; i < u.size(); ++i) {
        Bin& sum = sums[static_cast<size_t>(cell[i])];
        sum.s0 = sum.s0 + w[i];
        sum.s1 = sum.s1 + w[i] * static_cast<double>(u[i]);
      }
    });
    for (size_t k = 0; k < c.size(); ++k) {
      total[k].s0 = total[k].s0 + sums[k].s0;
      total[k].s1 = total[k].s1 + sums[k].s1;
    }
  }
  return total;
}

// c[q] of each u, q the first code with the smallest fl|fl(u - c_q)|.
void images(std::span<const float> codebook, std::span<const float> u, std::vector<float>& v) {
  v.assign(u.size(), codebook[0]);
  std::vector<float> least(u.size());
  for (size_t i = 0; i < u.size(); ++i) least[i] = std::abs(u[i] - codebook[0]);
  for (const float c : codebook.subspan(1)) {
    for (size_t i = 0; i < u.size(); ++i) {
      const float distance = std::abs(u[i] - c);
      v[i] = distance < least[i] ? c : v[i];
      least[i] = distance < least[i] ? distance : least[i];
    }
  }
}

}  // namespace

std::vector<Bin> binned(const Elements& elements, Weight weight) {
  std::vector<Bin> total(static_cast<size_t>(kBins));
  for (int64_t window = 0; window < elements.windows(); ++window) {
    std::vector<Bin> sums(total.size());
    for_rows(elements, window, weight, [&](std::span<const float> u, std::span<const double> w) {
      for (size_t i = 0; i < u.size(); ++i) {
        const double x = static_cast<double>(u[i]);
        const auto at = static_cast<int64_t>((x + 1) / 2 * static_cast<double>(kBins));
        Bin& sum = sums[static_cast<size_t>(std::min(at, kBins - 1))];
        const double weighed = w[i] * x;
        sum.s0 = sum.s0 + w[i];
        sum.s1 = sum.s1 + weighed;
        sum.s2 = sum.s2 + weighed * x;
      }
    });
    for (size_t b = 0; b < total.size(); ++b) {
      total[b].s0 = total[b].s0 + sums[b].s0;
      total[b].s1 = total[b].s1 + sums[b].s1;
      total[b].s2 = total[b].s2 + sums[b].s2;
    }
  }
  std::erase_if(total, [](const Bin& bin) { return bin.s0 == 0; });
  return total;
}

void polish(const Elements& elements, Weight weight, std::vector<double>& c) {
  for (int round = 0; round < kPolishRounds; ++round) {
    const std::vector<Bin> sums = cell_sums(elements, weight, c);
    bool changed = false;
    for (size_t k = 0; k < c.size(); ++k) {
      if (sums[k].s0 == 0) continue;
      const double mean = sums[k].s1 / sums[k].s0;
      changed |= mean != c[k];
      c[k] = mean;
    }
    if (!changed) return;
  }
}

double objective(const Elements& elements, Weight weight, std::span<const double> c) {
  const std::vector<float> above = thresholds(c);
  std::vector<int32_t> cell;
  double total = 0;
  for (int64_t window = 0; window < elements.windows(); ++window) {
    for_rows(elements, window, weight, [&](std::span<const float> u, std::span<const double> w) {
      find_cells(above, u, cell);
      for (size_t i = 0; i < u.size(); ++i) {
        const double off = static_cast<double>(u[i]) - c[static_cast<size_t>(cell[i])];
        total = total + w[i] * off * off;
      }
    });
  }
  return total;
}

std::vector<float> fit_codebook(const Elements& elements, Weight weight, int codes) {
  std::vector<Bin> bins = binned(elements, weight);
  if (bins.empty()) {
    weight = Weight::kOne;
    bins = binned(elements, weight);
  }
  if (bins.empty()) return std::vector<float>(static_cast<size_t>(codes), 0.0f);
  std::vector<double> c = centroids(bins, best_cuts(bins, codes), codes);
  polish(elements, weight, c);
  std::vector<float> out;
  for (const double x : c) out.push_back(static_cast<float>(x) + 0.0f);
  std::sort(out.begin(), out.end());
  return out;
}

QNorm fit_qnorm(const Elements& elements, std::span<const float> codebook) {
  double count = 0, mean_u = 0, mean_v = 0, var_u = 0, var_v = 0;
  std::vector<float> v;
  // Adds f(u) and f(v) of every inlier, a sum for each window first.
  const auto add = [&](double& sum_u, double& sum_v, auto&& of_u, auto&& of_v) {
    for (int64_t window = 0; window < elements.windows(); ++window) {
      double window_u = 0, window_v = 0;
      for_rows(elements, window, Weight::kOne,
               [&](std::span<const float> u, std::span<const double> w) {
                 images(codebook, u, v);
                 for (size_t i = 0; i < u.size(); ++i) {
                   window_u = window_u + w[i] * of_u(static_cast<double>(u[i]));
                   window_v = window_v + w[i] * of_v(static_cast<double>(v[i]));
                 }
               });
      sum_u = sum_u + window_u;
      sum_v = sum_v + window_v;
    }
  };
  double ignored = 0;
  const auto itself = [](double x) { return x; };
  add(
      count, ignored, [](double) { return 1.0; }, [](double) { return 0.0; });
  if (count == 0) return {};
  add(mean_u, mean_v, itself, itself);
  mean_u = mean_u / count;
  mean_v = mean_v / count;
  add(
      var_u, var_v, [&](double x) { return (x - mean_u) * (x - mean_u); },
      [&](double x) { return (x - mean_v) * (x - mean_v); });
  const double alpha = var_v == 0 ? 1.0 : std::sqrt(var_u / count) / std::sqrt(var_v / count);
  return {static_cast<float>(alpha), static_cast<float>(mean_u - alpha * mean_v)};
}

}  // namespace kvx::ref::kvquant
