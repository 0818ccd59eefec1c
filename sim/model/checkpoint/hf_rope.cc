#include "sim/model/checkpoint/hf_rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "sim/model/checkpoint/architectures.h"
#include "sim/model/checkpoint/file.h"

namespace kvx::model {
namespace {

using num::RopeScaling;

constexpr std::array<std::string_view, 8> kKnownFields = {
    "rope_type",        "type",
    "rope_theta",       "partial_rotary_factor",
    "factor",           "low_freq_factor",
    "high_freq_factor", "original_max_position_embeddings"};

void refuse_partial_rotation(const JsonFields& fields) {
  if (fields.positive("partial_rotary_factor", 1.0) != 1.0)
    throw fields.unsupported("partial_rotary_factor", "partial rotation");
}

double read_theta(const JsonFields& fields) {
  const double theta = fields.positive("rope_theta");
  if (theta < 1 || theta > kMaxRopeTheta)
    throw fields.wrong("rope_theta", fmt::format("a number from 1 to {}", kMaxRopeTheta));
  return theta;
}

// Older files say "type", newer ones "rope_type", some both.
std::string read_rope_type(const JsonFields& rope) {
  const char* key = rope.find("rope_type") != nullptr ? "rope_type" : "type";
  if (rope.find(key) == nullptr) rope.require("rope_type");
  const std::string type = rope.string(key);
  if (rope.find("type") != nullptr && rope.string("type") != type)
    throw rope.wrong("type", "what rope_type says");
  if (type != "default" && type != "linear" && type != "llama3") {
    throw rope.unsupported(key,
                           "scaled rotary frequencies of this type (linear, llama3 are there)");
  }
  return type;
}

RopeScaling read_scaling(const JsonFields& rope) {
  for (const auto& [name, value] : rope.object().items()) {
    if (!value.is_null() && std::ranges::find(kKnownFields, name) == kKnownFields.end())
      throw rope.unsupported(name, "an implementation of it");
  }
  refuse_partial_rotation(rope);
  const std::string type = read_rope_type(rope);
  RopeScaling out;
  if (type == "default") return out;
  out.factor = rope.positive("factor");
  if (out.factor < 1) throw rope.wrong("factor", "at least 1");
  out.rule = RopeScaling::Rule::kLinear;
  if (type == "linear") return out;
  out.rule = RopeScaling::Rule::kLlama3;
  out.low = rope.positive("low_freq_factor");
  out.high = rope.positive("high_freq_factor");
  out.original = rope.integer("original_max_position_embeddings");
  if (out.high <= out.low) throw rope.wrong("high_freq_factor", "above low_freq_factor");
  return out;
}

}  // namespace

HfRope read_hf_rope(const JsonFields& config) {
  refuse_partial_rotation(config);
  HfRope out{.theta = 10000, .scaling = {}};
  bool scaled = false;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json* value = config.find(key);
    if (value == nullptr) continue;
    if (!value->is_object()) throw config.wrong(key, "an object or null");
    const JsonFields rope(*value, config.file(), std::string(key) + ".");
    const RopeScaling scaling = read_scaling(rope);
    if (scaled && scaling != out.scaling) throw config.wrong(key, "what rope_parameters says");
    out.scaling = scaling;
    scaled = true;
    if (rope.find("rope_theta") != nullptr) out.theta = read_theta(rope);
  }
  if (config.find("rope_theta") != nullptr) out.theta = read_theta(config);
  return out;
}

}  // namespace kvx::model
