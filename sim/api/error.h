// Errors that reach a person: one line naming file, field and value, and the program's exit code.
#pragma once

#include <stdexcept>
#include <string>

namespace kvx {

// Exit codes of `kvx`; documented in README.md.
enum class Exit : int {
  kGood = 0,
  kVerdict = 1,       // a verdict against the subject: mismatch, regression, empty selection
  kUsage = 2,         // the command line or a descriptor is wrong
  kEnvironment = 3,   // something outside is missing or broken: model, data, device
  kNotSaved = 4,      // results could not be written
  kInterrupted = 130  // stopped by the user; the run folder can be continued
};

class Error : public std::runtime_error {
 public:
  Error(Exit exit, const std::string& message) : std::runtime_error(message), exit_(exit) {}
  Exit exit() const { return exit_; }

 private:
  Exit exit_;
};

inline Error usage_error(const std::string& message) { return {Exit::kUsage, message}; }
inline Error environment_error(const std::string& message) { return {Exit::kEnvironment, message}; }
inline Error not_saved_error(const std::string& message) { return {Exit::kNotSaved, message}; }

}  // namespace kvx
