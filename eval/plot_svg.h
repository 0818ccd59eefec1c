// What every plot is made of: a frame with axes, and names beside points; drawn by the template
// plot.svg. Same content, same bytes.
#pragma once

#include <string>
#include <vector>

#include "eval/plot_axis.h"
#include "eval/plot_labels.h"
#include "eval/template.h"

namespace kvx::eval {

// Schemes of one name share a colour of Okabe and Ito's set, which most colour-blind people can
// tell apart; given in the order in which `families` meets them.
const char* family_color(const std::string& label, std::vector<std::string>& families);

// A coordinate: one decimal.
std::string coordinate(double value);

// The frame, without axes: the template then says that there is nothing to show.
TemplateData plot_frame(const std::string& title, const Box& area);

// Adds the axes to a frame: `x_ticks` and the ticks of y.
void add_axes(TemplateData& plot, const Box& area, const Axis& x,
              const std::vector<double>& x_ticks, const Axis& y, const std::string& x_title);

// A point with a name, which may be shorter than what tells its colour.
struct NamedPoint {
  double x, y;
  std::string name;
  const char* color;
};

// Adds the names, placed by place_labels, with lines to those that stand apart from their point.
void add_names(TemplateData& plot, const Box& area, const std::vector<NamedPoint>& points,
               std::vector<Obstacle> obstacles);

// A picture of its own: title, subtitle, plots, and a line below them.
struct Picture {
  double width, height, left;
  std::string title, subtitle, foot;
  std::string plots;
};
std::string picture_svg(const Picture& picture);

}  // namespace kvx::eval
