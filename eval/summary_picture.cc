#include "eval/summary_picture.h"

#include <fmt/core.h>

#include <filesystem>

#include "eval/plot_svg.h"
#include "eval/text_table.h"

namespace kvx::eval {
namespace {

constexpr double kWidth = 1080, kHead = 64, kRowHeight = 430, kFoot = 30;
constexpr double kPlotWidth = 440, kPlotHeight = 330, kLeft = 64, kGap = 84, kTop = 34;

double row_top(size_t row) { return kHead + kRowHeight * static_cast<double>(row) + kTop; }

}  // namespace

Box left_plot(size_t row) { return {kLeft, row_top(row), kPlotWidth, kPlotHeight}; }

Box right_plot(size_t row) {
  return {kLeft + kPlotWidth + kGap, row_top(row), kPlotWidth, kPlotHeight};
}

std::string summary_picture(const Summary& summary, const std::string& what,
                            const std::string& plots, const std::string& foot) {
  const auto name = [&](const char* key) {
    const std::filesystem::path path = summary.run.at(key).at("path").get<std::string>();
    return (path.has_filename() ? path : path.parent_path()).filename().string();
  };
  const std::string subtitle = fmt::format(
      "{}, {} windows of {} tokens, protocol {}", name("data"), thousands(summary.windows),
      thousands(ppl_identity(summary.run).at("length").get<int64_t>()),
      protocol_name(summary.protocol));
  return picture_svg({kWidth,
                      kHead + kRowHeight * static_cast<double>(summary.modes.size()) + kFoot, kLeft,
                      fmt::format("{}: {}", what, name("model")), subtitle, foot, plots});
}

}  // namespace kvx::eval
