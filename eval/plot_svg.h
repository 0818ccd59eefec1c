// What the pictures of a run have in common.
#pragma once

#include <string>
#include <vector>

#include "eval/plot_labels.h"
#include "eval/summary.h"

namespace kvx::eval {

// The opening of a picture with the classes of lines and texts, and its background.
std::string svg_open(double width, double height);

// Title and subtitle: model, text, windows.
std::string svg_title(const Summary& summary, const std::string& what, double left);

// Schemes of one name share a colour, given in the order in which `families` meets them.
const char* family_color(const std::string& label, std::vector<std::string>& families);

// The names of points: lines to those that stand apart from their point, and the texts.
struct SvgLabels {
  std::string leaders, names;
};
// Placed by place_labels, each in the colour of its family.
SvgLabels svg_labels(const std::vector<LabelledPoint>& points, const Box& frame,
                     std::vector<Obstacle> obstacles, std::vector<std::string>& families);

}  // namespace kvx::eval
