#include "eval/bins.h"

#include <algorithm>
#include <cmath>

namespace kvx::eval {

std::vector<PositionBin> position_bins(const PositionScores& scores, const PositionScores& base,
                                       int64_t first_position, int64_t per_window, int64_t length,
                                       int64_t count) {
  const int64_t width = (length + count - 1) / count;
  std::vector<PositionBin> bins(static_cast<size_t>((length + width - 1) / width));
  std::vector<double> base_nll(bins.size());
  for (size_t i = 0; i < scores.nll.size(); ++i) {
    const int64_t position = first_position + static_cast<int64_t>(i) % per_window;
    const size_t b = static_cast<size_t>(position / width);
    ++bins[b].targets;
    bins[b].nll += scores.nll[i];
    bins[b].kl_mean += scores.kl[i];
    bins[b].same_top += scores.same_top[i];
    base_nll[b] += base.nll[i];
  }
  for (size_t b = 0; b < bins.size(); ++b) {
    PositionBin& bin = bins[b];
    const double targets = static_cast<double>(bin.targets);
    bin.first = static_cast<int64_t>(b) * width;
    bin.end = std::min(bin.first + width, length);
    bin.nll /= targets;
    bin.ppl = std::exp(bin.nll);
    bin.delta_ppl = bin.ppl - std::exp(base_nll[b] / targets);
    bin.kl_mean /= targets;
    bin.same_top /= targets;
  }
  std::erase_if(bins, [](const PositionBin& bin) { return bin.targets == 0; });
  return bins;
}

Json bins_json(const std::vector<PositionBin>& bins) {
  Json json = Json::array();
  for (const PositionBin& bin : bins) {
    Json item{{"first", bin.first}, {"end", bin.end}, {"targets", bin.targets}};
    item["nll"] = exact_number(bin.nll);
    item["ppl"] = exact_number(bin.ppl);
    item["delta_ppl"] = exact_number(bin.delta_ppl);
    item["kl_mean"] = exact_number(bin.kl_mean);
    item["same_top"] = exact_number(bin.same_top);
    json.push_back(std::move(item));
  }
  return json;
}

}  // namespace kvx::eval
