#include "eval/plot_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

namespace kvx::eval {

const char* family_color(const std::string& label, std::vector<std::string>& families) {
  static constexpr std::array<const char*, 7> kColors{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#7a5195", "#b8860b", "#444444"};
  const std::string family = label.substr(0, label.find(':'));
  auto found = std::find(families.begin(), families.end(), family);
  if (found == families.end()) found = families.insert(families.end(), family);
  return kColors[static_cast<size_t>(found - families.begin()) % kColors.size()];
}

std::string coordinate(double value) { return fmt::format("{:.1f}", value); }

TemplateData plot_frame(const std::string& title, const Box& area) {
  TemplateData plot;
  plot["title"] = title;
  plot["left"] = coordinate(area.x);
  plot["top"] = coordinate(area.y);
  plot["width"] = coordinate(area.width);
  plot["height"] = coordinate(area.height);
  plot["title_y"] = coordinate(area.y - 10);
  plot["nothing_x"] = coordinate(area.x + 12);
  plot["nothing_y"] = coordinate(area.y + 24);
  return plot;
}

void add_axes(TemplateData& plot, const Box& area, const Axis& x,
              const std::vector<double>& x_ticks, const Axis& y, const std::string& x_title) {
  const double bottom = area.y + area.height;
  plot["axes"] = true;
  plot["right"] = coordinate(area.x + area.width);
  plot["bottom"] = coordinate(bottom);
  plot["middle"] = coordinate(area.x + area.width / 2);
  plot["x_tick_y"] = coordinate(bottom + 16);
  plot["x_title_y"] = coordinate(bottom + 34);
  plot["y_tick_x"] = coordinate(area.x - 7);
  plot["x_title"] = x_title;
  plot["x_ticks"] = template_list(x_ticks, [&](double tick) {
    return TemplateObject{{"at", coordinate(x(tick))}, {"value", fmt::format("{:g}", tick)}};
  });
  plot["y_ticks"] = template_list(ticks(y), [&](double tick) {
    return TemplateObject{{"at", coordinate(y(tick))},
                          {"text_y", coordinate(y(tick) + 4)},
                          {"value", fmt::format("{:g}", tick)}};
  });
}

void add_names(TemplateData& plot, const Box& area, const std::vector<NamedPoint>& points,
               std::vector<Obstacle> obstacles) {
  std::vector<LabelledPoint> labelled;
  for (const NamedPoint& point : points) labelled.push_back({point.x, point.y, point.name});
  const std::vector<PlacedLabel> labels = place_labels(
      labelled, {area.x + 2, area.y + 2, area.width - 4, area.height - 4}, std::move(obstacles));
  TemplateData leaders(TemplateData::type::list), names(TemplateData::type::list);
  for (size_t i = 0; i < labels.size(); ++i) {
    const NamedPoint& point = points[i];
    const Box& box = labels[i].box;
    if (labels[i].leader)
      leaders.push_back(
          TemplateObject{{"x", coordinate(point.x)},
                         {"y", coordinate(point.y)},
                         {"to_x", coordinate(std::clamp(point.x, box.x, box.x + box.width))},
                         {"to_y", coordinate(box.y + box.height / 2)}});
    names.push_back(TemplateObject{{"x", coordinate(box.x)},
                                   {"y", coordinate(box.y + 10.5)},
                                   {"length", coordinate(box.width)},
                                   {"color", point.color},
                                   {"name", point.name}});
  }
  plot["leaders"] = std::move(leaders);
  plot["names"] = std::move(names);
}

std::string picture_svg(const Picture& picture) {
  const auto whole = [](double value) { return fmt::format("{:.0f}", value); };
  return render("picture.svg", TemplateObject{{"width", whole(picture.width)},
                                              {"height", whole(picture.height)},
                                              {"left", whole(picture.left)},
                                              {"foot_y", whole(picture.height - 12)},
                                              {"title", picture.title},
                                              {"subtitle", picture.subtitle},
                                              {"foot", picture.foot},
                                              {"plots", picture.plots}});
}

}  // namespace kvx::eval
