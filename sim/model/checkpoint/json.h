// JSON files as hostile input: no duplicate keys, bounded depth, and every field read through a
// check that names it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "sim/api/error.h"

namespace kvx::model {

// Throws file_error(file, ...) for malformed text, a key named twice in one object, or nesting
// deeper than 32.
nlohmann::json parse_json(std::string_view text, const std::string& file);

// The whole file at `path`, an object of at most `limit` bytes.
nlohmann::json read_json_object(const std::string& path, size_t limit);

// Fields of one object. A field that is null counts as absent. Errors name file, field and value.
class JsonFields {
 public:
  // `prefix` is what error messages put before the key, e.g. "rope_scaling.".
  JsonFields(const nlohmann::json& object, std::string file, std::string prefix = "");

  const nlohmann::json* find(const std::string& key) const;  // nullptr if absent
  const nlohmann::json& require(const std::string& key) const;

  // An integer in [low, 2^31).
  int64_t integer(const std::string& key, std::optional<int64_t> fallback = {},
                  int64_t low = 1) const;
  // A finite number above 0.
  double positive(const std::string& key, std::optional<double> fallback = {}) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string string(const std::string& key, std::optional<std::string> fallback = {}) const;

  // file_error "field 'KEY' is VALUE, not EXPECTED".
  Error wrong(const std::string& key, const std::string& expected) const;
  // file_error "field 'KEY' is VALUE: not supported: missing MISSING".
  Error unsupported(const std::string& key, const std::string& missing) const;
  const nlohmann::json& object() const { return object_; }
  const std::string& file() const { return file_; }

 private:
  const nlohmann::json& object_;
  std::string file_;
  std::string prefix_;
};

}  // namespace kvx::model
