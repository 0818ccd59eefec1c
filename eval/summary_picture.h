// What the two pictures of a summary have in common: title, and a row of two plots per cache mode.
#pragma once

#include <string>

#include "eval/plot_labels.h"
#include "eval/summary.h"

namespace kvx::eval {

// Perplexities beyond the base's times this would press all others onto one line.
inline constexpr double kPerplexityCap = 1.5;

// The areas of the plots of row `row`, from 0.
Box left_plot(size_t row);
Box right_plot(size_t row);

// The picture: model, text and windows under the title `what`.
std::string summary_picture(const Summary& summary, const std::string& what,
                            const std::string& plots, const std::string& foot);

}  // namespace kvx::eval
