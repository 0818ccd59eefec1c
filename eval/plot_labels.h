// Where the names of points go in a picture.
#pragma once

#include <string>
#include <vector>

namespace kvx::eval {

inline constexpr double kLabelCharWidth = 6.1;
inline constexpr double kLabelHeight = 13;

struct Box {
  double x, y, width, height;
  double overlap(const Box& other) const;  // area
};

// What a label should keep clear of, and how much it matters.
struct Obstacle {
  Box box;
  double weight;
};

struct LabelledPoint {
  double x, y;
  std::string label;
};

struct PlacedLabel {
  Box box;
  bool leader = false;  // far enough from its point to need a line
};

// One label after the other, from left to right, each at the nearest spot that covers least of
// points, obstacles and earlier labels and stays in the frame. In the order of the points.
std::vector<PlacedLabel> place_labels(const std::vector<LabelledPoint>& points, const Box& frame,
                                      std::vector<Obstacle> taken);

}  // namespace kvx::eval
