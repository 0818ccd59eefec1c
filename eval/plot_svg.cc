#include "eval/plot_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "eval/text_table.h"
#include "eval/xml_escape.h"

namespace kvx::eval {

std::string svg_open(double width, double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" "
      "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11.5\">\n"
      "<style>text{{paint-order:stroke;stroke:#fafafa;stroke-width:3px;stroke-linejoin:round}}"
      ".t{{font-size:14px;font-weight:bold;fill:#222}}.h{{font-size:18px;font-weight:bold;"
      "fill:#222}}"
      ".n{{fill:#555}}.m{{text-anchor:middle}}.e{{text-anchor:end}}.f{{fill:#fff;stroke:#999}}"
      ".g{{stroke:#e4e4e4}}.p{{fill:none;stroke:#bbb;stroke-width:1.5}}.b{{stroke:#555;stroke-"
      "dasharray:5 4}}"
      ".l{{stroke:#aaa;stroke-width:.8}}.w{{stroke-width:1.5;opacity:.55}}circle{{stroke:#fff;"
      "stroke-width:1}}</style>\n"
      "<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#fafafa\"/>\n",
      width, height);
}

std::string svg_title(const Summary& summary, const std::string& what, double left) {
  const auto name = [&](const char* key) {
    const std::filesystem::path path = summary.run.at(key).at("path").get<std::string>();
    return xml_escape((path.has_filename() ? path : path.parent_path()).filename().string());
  };
  return fmt::format(
      "<text x=\"{0:.0f}\" y=\"30\" class=\"h\">{1}: {2}</text>\n"
      "<text x=\"{0:.0f}\" y=\"50\" class=\"n\">{3}, {4} windows of {5} tokens, protocol {6}"
      "</text>\n",
      left, what, name("model"), name("data"), thousands(summary.windows),
      thousands(ppl_identity(summary.run).at("length").get<int64_t>()),
      protocol_name(summary.protocol));
}

const char* family_color(const std::string& label, std::vector<std::string>& families) {
  static constexpr std::array<const char*, 7> kColors{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#7a5195", "#b8860b", "#444444"};
  const std::string family = label.substr(0, label.find(':'));
  auto found = std::find(families.begin(), families.end(), family);
  if (found == families.end()) found = families.insert(families.end(), family);
  return kColors[static_cast<size_t>(found - families.begin()) % kColors.size()];
}

SvgLabels svg_labels(const std::vector<LabelledPoint>& points, const Box& frame,
                     std::vector<Obstacle> obstacles, std::vector<std::string>& families) {
  SvgLabels svg;
  const std::vector<PlacedLabel> labels = place_labels(points, frame, std::move(obstacles));
  for (size_t i = 0; i < labels.size(); ++i) {
    const Box& box = labels[i].box;
    if (labels[i].leader)
      svg.leaders += fmt::format(
          "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"l\"/>\n",
          points[i].x, points[i].y, std::clamp(points[i].x, box.x, box.x + box.width),
          box.y + box.height / 2);
    svg.names += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" textLength=\"{:.1f}\" lengthAdjust=\"spacingAndGlyphs\" "
        "fill=\"{}\">{}</text>\n",
        box.x, box.y + 10.5, box.width, family_color(points[i].label, families),
        xml_escape(points[i].label));
  }
  return svg;
}

}  // namespace kvx::eval
