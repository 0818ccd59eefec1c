// Statistics of a scheme beside the base, position by position: those that llama.cpp's
// --kl-divergence prints (tools/perplexity of ggml-org/llama.cpp), from unrounded binary64 scores.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eval/number.h"

namespace kvx::eval {

// A mean or a function of means, with the standard error that follows if positions were
// independent. Errors are 0 for 10 positions or fewer.
struct Estimate {
  double value = 0;
  double error = 0;
};

// Mean of x and sqrt((E[x^2] - E[x]^2) / (n - 1)).
Estimate mean_with_error(std::span<const double> x);

// exp of a mean NLL; the error is that of the mean, times the perplexity.
Estimate perplexity(std::span<const double> nll);

// Percentiles of the distributions below, in per cent; linear between order statistics.
inline constexpr std::array<double, 9> kKlPercentiles{99.9, 99, 95, 90, 50, 10, 5, 1, 0.1};
inline constexpr std::array<double, 11> kDeltaPercentiles{99.9, 99, 95, 90, 75, 50,
                                                          25,   10, 5,  1,  0.1};

struct Divergence {
  int64_t positions = 0;
  Estimate ppl, base_ppl;
  Estimate ppl_ratio, ppl_difference;  // errors with the covariance of both
  Estimate log_ppl_ratio;
  double correlation = 0;  // of the NLLs
  Estimate kl_mean;
  double kl_max = 0, kl_min = 0;
  std::array<double, kKlPercentiles.size()> kl{};
  // Probability of the right token: scheme minus base.
  Estimate delta_p_mean, delta_p_rms;
  double delta_p_max = 0, delta_p_min = 0;
  std::array<double, kDeltaPercentiles.size()> delta_p{};
  Estimate same_top;  // share of positions
};

// Of equally many scores of a scheme and of the base, one at least. same_top: 1 or 0.
Divergence divergence(std::span<const double> nll, std::span<const double> base_nll,
                      std::span<const double> kl, std::span<const double> same_top);

// Lines for people, percentiles from 100 positions on.
std::string divergence_text(const Divergence& divergence);
// Names and values of all numbers, in one order: "kl_mean", "kl_mean_error", "kl_99.9", ...
std::vector<std::pair<std::string, double>> divergence_fields(const Divergence& divergence);
// `positions` and these fields.
Json divergence_json(const Divergence& divergence);

}  // namespace kvx::eval
