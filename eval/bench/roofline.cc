#include "eval/bench/roofline.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/bench/table.h"
#include "eval/plot_svg.h"

namespace kvx::bench {
namespace {

using eval::Axis;
using eval::Box;
using eval::TemplateData;
using eval::TemplateObject;

constexpr size_t kMostNames = 10;
constexpr size_t kLongName = 30;  // characters
constexpr double kWidth = 470, kHeight = 320, kLeft = 62, kTop = 92, kPitch = kHeight + 84;

double megabytes(const Record& record) { return 1e-6 * static_cast<double>(record.bytes); }
double microseconds(double seconds) { return 1e6 * seconds; }

// Bytes per second of the line: of the first session of the program's own.
double floor_rate(const Document& document) {
  for (const Session& session : document.sessions)
    if (session.source == kOwnSource) return session.read.median;
  return document.sessions.front().read.median;
}

std::string point_name(const Record& record, size_t number, size_t points, bool one_shape) {
  const BenchShape& s = record.shape;
  const std::string name = one_shape ? label_of(record)
                                     : fmt::format("{} {}/{} B{} T{}", label_of(record), s.q_heads,
                                                   s.kv_heads, s.sequences, s.tokens);
  return points <= kMostNames && name.size() <= kLongName ? name : fmt::format("{}", number);
}

// The line through (MB, MB / rate), where it is in the plot, with its name in the corner below it.
TemplateData floor_line(const Axis& x, const Axis& y, double rate,
                        std::vector<eval::Obstacle>& obstacles) {
  const auto time = [&](double mb) { return microseconds(1e6 * mb / rate); };
  const double from = std::max(x.low, y.low / time(1)), to = std::min(x.high, y.high / time(1));
  const double x1 = x(from), y1 = y(time(from)), x2 = x(to), y2 = y(time(to));
  constexpr int kSteps = 40;
  for (int i = 0; i < kSteps; ++i)
    obstacles.push_back(
        {{x1 + (x2 - x1) * i / kSteps - 2, y1 + (y2 - y1) * i / kSteps - 2, 4, 4}, 2});
  const std::string name = fmt::format("read bandwidth, {:.4g} GB/s", 1e-9 * rate);
  const double width = eval::kLabelCharWidth * static_cast<double>(name.size());
  // Nothing can be below the line.
  const double name_x = x.to - 8, name_y = y.from - 10;
  obstacles.push_back({{name_x - width, name_y - 11, width, eval::kLabelHeight}, 4});
  return TemplateObject{{"x1", eval::coordinate(x1)},
                        {"y1", eval::coordinate(y1)},
                        {"x2", eval::coordinate(x2)},
                        {"y2", eval::coordinate(y2)},
                        {"name_x", eval::coordinate(name_x)},
                        {"name_y", eval::coordinate(name_y)},
                        {"name", name}};
}

}  // namespace

std::vector<BenchOp> bounded_ops(const Document& document) {
  std::vector<BenchOp> ops;
  for (const BenchOp op : {BenchOp::kAttend, BenchOp::kStep, BenchOp::kEncode}) {
    const std::vector<Record> records = records_of(document, op);
    if (!records.empty() && of_read(document, records.front())) ops.push_back(op);
  }
  return ops;
}

std::string roofline_plot(const Document& document, BenchOp op, const Box& area) {
  const std::vector<Record> records = records_of(document, op);
  TemplateData plot = eval::plot_frame(op_title(op) + ": microseconds of a call", area);
  const double rate = floor_rate(document);
  std::vector<double> sizes, times;
  bool one_shape = true;
  for (const Record& record : records) {
    sizes.push_back(megabytes(record));
    for (const double seconds : {record.seconds.p10, record.seconds.median, record.seconds.p90,
                                 static_cast<double>(record.bytes) / rate})
      times.push_back(microseconds(seconds));
    one_shape = one_shape && record.shape == records.front().shape;
  }
  const Axis x = eval::value_axis(sizes, true, area.x, area.x + area.width);
  const Axis y = eval::value_axis(times, true, area.y + area.height, area.y);
  eval::add_axes(plot, area, x, eval::ticks(x), y, "MB that a call must move");
  std::vector<eval::Obstacle> obstacles;
  plot["floor"] = floor_line(x, y, rate, obstacles);
  TemplateData bars(TemplateData::type::list), dots(TemplateData::type::list);
  std::vector<eval::NamedPoint> named;
  std::vector<std::string> families;
  for (size_t i = 0; i < records.size(); ++i) {
    const Record& record = records[i];
    const char* color = eval::family_color(record.name, families);
    const double at_x = x(megabytes(record)), at_y = y(microseconds(record.seconds.median));
    bars.push_back(TemplateObject{{"x", eval::coordinate(at_x)},
                                  {"high", eval::coordinate(y(microseconds(record.seconds.p90)))},
                                  {"low", eval::coordinate(y(microseconds(record.seconds.p10)))},
                                  {"color", color}});
    dots.push_back(TemplateObject{
        {"x", eval::coordinate(at_x)},
        {"y", eval::coordinate(at_y)},
        {"beyond", false},
        {"color", color},
        {"note",
         fmt::format("{}: {:.3f} MB, {:.2f} us, {:.3f} of the read bandwidth", subject_text(record),
                     megabytes(record), microseconds(record.seconds.median),
                     of_read(document, record).value_or(0))}});
    named.push_back({at_x, at_y, point_name(record, i + 1, records.size(), one_shape), color});
  }
  plot["bars"] = std::move(bars);
  plot["dots"] = std::move(dots);
  eval::add_names(plot, area, named, std::move(obstacles));
  return eval::render("plot.svg", plot);
}

std::string roofline_picture(const Document& document) {
  eval::Picture picture{.width = kLeft + kWidth + 24,
                        .height = 0,
                        .left = kLeft,
                        .title = "Bytes against time",
                        .subtitle = document.sessions.front().device,
                        .foot =
                            "Bars: p10 to p90. Line: the time that the measured read bandwidth "
                            "allows.",
                        .plots = ""};
  double top = kTop;
  for (const BenchOp op : bounded_ops(document)) {
    picture.plots += roofline_plot(document, op, {kLeft, top, kWidth, kHeight});
    top += kPitch;
  }
  picture.height = top - 10;
  return picture_svg(picture);
}

}  // namespace kvx::bench
