#include "eval/reproduce/calibrator_group.h"

#include <stdexcept>

namespace kvx::reproduce {

bool same_needs(const CalibrationNeeds& a, const CalibrationNeeds& b) {
  return a.keys == b.keys && a.gradients == b.gradients && a.tokens == b.tokens;
}

void CalibratorGroup::observe(const CalibrationRows& rows) {
  for (const auto& member : members_) member->observe(rows);
}

int64_t CalibratorGroup::pieces() const {
  int64_t pieces = 0;
  for (const auto& member : members_) pieces += member->pieces();
  return pieces;
}

void CalibratorGroup::fit(int64_t piece) {
  for (const auto& member : members_) {
    if (piece < member->pieces()) return member->fit(piece);
    piece -= member->pieces();
  }
  throw std::logic_error("a piece of no calibrator");
}

}  // namespace kvx::reproduce
