// The statistics of a divergence for people, for CSV and as JSON.
#include <fmt/core.h>

#include "eval/divergence.h"
#include "eval/text_table.h"

namespace kvx::eval {
namespace {

constexpr int64_t kPercentilesFrom = 100;  // positions

std::string with_error(const char* format, const Estimate& estimate, double unit = 1) {
  return fmt::format("{} ± {}", fmt::format(fmt::runtime(format), unit * estimate.value),
                     fmt::format(fmt::runtime(format), unit * estimate.error));
}

}  // namespace

std::string divergence_text(const Divergence& d) {
  std::vector<std::vector<std::string>> rows;
  const auto line = [&rows](std::string name, std::string value) {
    rows.push_back({"  " + std::move(name), std::move(value)});
  };
  line("mean PPL(Q)", with_error("{:.6f}", d.ppl));
  line("mean PPL(base)", with_error("{:.6f}", d.base_ppl));
  line("Cor(ln PPL(Q), ln PPL(base))", fmt::format("{:.2f} %", 100 * d.correlation));
  line("mean ln(PPL(Q)/PPL(base))", with_error("{:.6f}", d.log_ppl_ratio));
  line("mean PPL(Q)/PPL(base)", with_error("{:.6f}", d.ppl_ratio));
  line("mean PPL(Q)-PPL(base)", with_error("{:.6f}", d.ppl_difference));
  line("mean KLD", with_error("{:#.5g}", d.kl_mean));
  if (d.positions >= kPercentilesFrom) {
    line("maximum KLD", fmt::format("{:#.5g}", d.kl_max));
    for (size_t i = 0; i < kKlPercentiles.size(); ++i)
      line(fmt::format("{:.1f} % KLD", kKlPercentiles[i]), fmt::format("{:#.5g}", d.kl[i]));
    line("minimum KLD", fmt::format("{:#.5g}", d.kl_min));
  }
  line("mean delta p", with_error("{:#.4g}", d.delta_p_mean, 100) + " %");
  if (d.positions >= kPercentilesFrom) {
    line("maximum delta p", fmt::format("{:#.4g} %", 100 * d.delta_p_max));
    for (size_t i = 0; i < kDeltaPercentiles.size(); ++i)
      line(fmt::format("{:.1f} % delta p", kDeltaPercentiles[i]),
           fmt::format("{:#.4g} %", 100 * d.delta_p[i]));
    line("minimum delta p", fmt::format("{:#.4g} %", 100 * d.delta_p_min));
  }
  line("RMS delta p", with_error("{:#.4g}", d.delta_p_rms, 100) + " %");
  line("same top p", with_error("{:.3f}", d.same_top, 100) + " %");
  return align_columns(rows, 2);
}

std::vector<std::pair<std::string, double>> divergence_fields(const Divergence& d) {
  std::vector<std::pair<std::string, double>> fields;
  const auto estimate = [&fields](const std::string& name, const Estimate& value) {
    fields.emplace_back(name, value.value);
    fields.emplace_back(name + "_error", value.error);
  };
  estimate("ppl", d.ppl);
  estimate("base_ppl", d.base_ppl);
  fields.emplace_back("correlation", d.correlation);
  estimate("log_ppl_ratio", d.log_ppl_ratio);
  estimate("ppl_ratio", d.ppl_ratio);
  estimate("ppl_difference", d.ppl_difference);
  estimate("kl_mean", d.kl_mean);
  fields.emplace_back("kl_max", d.kl_max);
  for (size_t i = 0; i < d.kl.size(); ++i)
    fields.emplace_back(fmt::format("kl_{:g}", kKlPercentiles[i]), d.kl[i]);
  fields.emplace_back("kl_min", d.kl_min);
  estimate("delta_p_mean", d.delta_p_mean);
  fields.emplace_back("delta_p_max", d.delta_p_max);
  for (size_t i = 0; i < d.delta_p.size(); ++i)
    fields.emplace_back(fmt::format("delta_p_{:g}", kDeltaPercentiles[i]), d.delta_p[i]);
  fields.emplace_back("delta_p_min", d.delta_p_min);
  estimate("delta_p_rms", d.delta_p_rms);
  estimate("same_top", d.same_top);
  return fields;
}

Json divergence_json(const Divergence& d) {
  Json json;
  json["positions"] = d.positions;
  for (const auto& [name, value] : divergence_fields(d)) json[name] = exact_number(value);
  return json;
}

}  // namespace kvx::eval
