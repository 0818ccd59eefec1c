// Several calibrators that are shown the same windows, as one.
#pragma once

#include <memory>
#include <vector>

#include "sim/api/calibrator.h"

namespace kvx::reproduce {

// Whether both can be shown the same rows.
bool same_needs(const CalibrationNeeds& a, const CalibrationNeeds& b);

class CalibratorGroup final : public Calibrator {
 public:
  // At least one, all of the same needs.
  explicit CalibratorGroup(std::vector<std::unique_ptr<Calibrator>> members)
      : members_(std::move(members)) {}

  CalibrationNeeds needs() const override { return members_.front()->needs(); }
  void observe(const CalibrationRows& rows) override;
  int64_t pieces() const override;
  void fit(int64_t piece) override;
  // Of the first member; the others are exported by themselves.
  void export_to(const Sink& sink) const override { members_.front()->export_to(sink); }

  const std::vector<std::unique_ptr<Calibrator>>& members() const { return members_; }

 private:
  std::vector<std::unique_ptr<Calibrator>> members_;
};

}  // namespace kvx::reproduce
