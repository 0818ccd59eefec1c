// Bytes that a call must move against the time it takes, both logarithmic, above the time that the
// measured read bandwidth allows.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/record.h"
#include "eval/plot_labels.h"

namespace kvx::bench {

// Operations of the document that bytes bound (of_read): those that have a plot.
std::vector<BenchOp> bounded_ops(const Document& document);

// The plot of one of them in `area`. Points bear their scheme where they are few, else the number
// of their row in the operation's table.
std::string roofline_plot(const Document& document, BenchOp op, const eval::Box& area);

// All of them as a picture of its own.
std::string roofline_picture(const Document& document);

}  // namespace kvx::bench
