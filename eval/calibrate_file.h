// The command line of `kvx calibrate`, and the file that it asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "eval/calibration.h"
#include "eval/options.h"
#include "eval/tensor_file.h"
#include "sim/api/descriptor.h"

namespace kvx::eval {

boost::program_options::options_description calibrate_options();

struct CalibrationInputs {
  Descriptor scheme;    // without the artifact
  std::string key;      // of the descriptor, for the artifact: "cb"
  int64_t length = 0;   // tokens of a window
  std::string backend;  // that runs the model
  std::shared_ptr<const ModelText> text;
  Metadata metadata;  // of the file: scheme, length, and hashes of all that decides its tensors
};

// Reads and checks what the options name. Throws usage and environment Errors.
CalibrationInputs read_calibration(const Options& options);

// The same model and windows for another scheme, without reading them again. Throws usage Errors.
CalibrationInputs for_scheme(CalibrationInputs in, const Descriptor& scheme);

struct CalibrationFile {
  std::string sha256;
  size_t tensors = 0;
};

// What a fitted calibrator has learned, as the file. Throws a not-saved Error.
CalibrationFile write_calibration(const Calibrator& calibrator, const Metadata& metadata,
                                  const std::string& path);

// The descriptor that names the file: "kvquant:nuq3,cb=#0123456789abcdef".
std::string calibrated_descriptor(const CalibrationInputs& in, const std::string& sha256);

}  // namespace kvx::eval
