// What the parts of a run share: the folder, the backends that are open, the progress.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "eval/backend.h"
#include "eval/inputs.h"
#include "eval/progress.h"
#include "eval/store.h"

namespace kvx::eval {

class RunContext {
 public:
  RunContext(const Inputs& inputs, RunFolder& run_folder, const BackendMaker& make)
      : in(inputs), folder(run_folder), make_(make) {}

  // Whether the backend has still to compute the unit.
  bool lacks(const UnitKey& unit, const std::string& backend) const {
    const UnitRecord* recorded = folder.find(unit);
    return recorded == nullptr || !recorded->has_run(backend);
  }

  // Opened when it is asked for first.
  Backend& opened(const std::string& name) {
    std::unique_ptr<Backend>& backend = backends_[name];
    if (!backend) backend = make_(name);
    return *backend;
  }

  // Notes down that a unit's `value` differs between the backends; what is said of it.
  std::string add_difference(const UnitRecord& expected, const UnitRecord& found,
                             const std::string& value);

  // " cuda", where a label must say which.
  std::string backend_label(const std::string& name) const {
    return in.backends.size() > 1 ? " " + name : "";
  }

  const Inputs& in;
  RunFolder& folder;
  std::unique_ptr<Progress> progress;

 private:
  const BackendMaker& make_;
  std::map<std::string, std::unique_ptr<Backend>> backends_;
};

// A task in its cache modes.
class RunPart {
 public:
  virtual ~RunPart() = default;
  // Steps of the progress that are still to be done.
  virtual int64_t missing() const = 0;
  // Measures them; false: interrupted. Throws what a backend throws, and a verdict Error where
  // backends differ.
  virtual bool run() = 0;
};

}  // namespace kvx::eval
