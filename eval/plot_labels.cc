#include "eval/plot_labels.h"

#include <algorithm>
#include <cmath>

namespace kvx::eval {

double Box::overlap(const Box& other) const {
  const double w = std::min(x + width, other.x + other.width) - std::max(x, other.x);
  const double h = std::min(y + height, other.y + other.height) - std::max(y, other.y);
  return w > 0 && h > 0 ? w * h : 0;
}

std::vector<PlacedLabel> place_labels(const std::vector<LabelledPoint>& points, const Box& frame,
                                      std::vector<Obstacle> taken) {
  for (const LabelledPoint& point : points)
    taken.push_back({{point.x - 6, point.y - 6, 12, 12}, 4});
  std::vector<PlacedLabel> placed(points.size());
  std::vector<size_t> order(points.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return points[a].x < points[b].x; });
  static constexpr double kPi = 3.14159265358979323846;
  for (const size_t i : order) {
    const LabelledPoint& point = points[i];
    const double width = kLabelCharWidth * static_cast<double>(point.label.size());
    double best = 1e300;
    for (const double radius : {9.0, 16.0, 26.0, 38.0, 52.0, 70.0}) {
      for (const double turn : {0.0, -1 / 6., 1 / 6., 1 / 2., -1 / 3., 1 / 3., -1 / 4., 1 / 4.,
                                -1 / 12., 1 / 12., -5 / 12., 5 / 12.}) {
        const double dx = std::cos(2 * kPi * turn), dy = std::sin(2 * kPi * turn);
        const double x = point.x + radius * dx - (dx < -0.1 ? width : dx < 0.1 ? width / 2 : 0);
        const Box box{x, point.y + radius * dy - kLabelHeight / 2, width, kLabelHeight};
        double cost = 0.6 * radius + (turn == 0 ? 0 : 1);
        for (const auto& [other, weight] : taken) cost += weight * box.overlap(other);
        cost += 4 * (width * kLabelHeight - box.overlap(frame));
        if (cost < best) {
          best = cost;
          placed[i] = {box, radius > 20};
        }
      }
    }
    taken.push_back({placed[i].box, 4});
  }
  return placed;
}

}  // namespace kvx::eval
