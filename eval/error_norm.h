// ||x^ - x|| / ||x|| of rows that come in order (error.md, "Arithmetic").
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "sim/num/reduce.h"

namespace kvx::eval {

class RelativeError {
 public:
  // The next row: as the scheme gives it, and as it is.
  template <class T>
  void add(std::span<const T> found, std::span<const T> exact) {
    squares_.resize(exact.size());
    for (size_t i = 0; i < exact.size(); ++i) {
      const double distance = static_cast<double>(found[i]) - static_cast<double>(exact[i]);
      squares_[i] = distance * distance;
    }
    distance_.push_back(num::sum(std::span<const double>(squares_)));
    for (size_t i = 0; i < exact.size(); ++i) {
      const double value = static_cast<double>(exact[i]);
      squares_[i] = value * value;
    }
    norm_.push_back(num::sum(std::span<const double>(squares_)));
  }

  // 0 where found and exact are equal, zeros included; infinite where only exact is zero.
  double value() const {
    const double distance = num::sum(std::span<const double>(distance_));
    return distance == 0 ? 0 : std::sqrt(distance / num::sum(std::span<const double>(norm_)));
  }

 private:
  std::vector<double> squares_;          // of one row
  std::vector<double> distance_, norm_;  // squared, by row
};

}  // namespace kvx::eval
