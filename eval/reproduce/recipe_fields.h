// Fields of a recipe's objects, each read through a check that names file, field and value.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "sim/model/checkpoint/json.h"

namespace kvx::reproduce {

class Fields : public model::JsonFields {
 public:
  // `prefix`: "tables[0].rows[2]." The object must outlive this.
  Fields(const nlohmann::json& object, const std::string& source, const std::string& prefix)
      : JsonFields(object, source, prefix), prefix_(prefix) {}

  // There are no others.
  void only(std::initializer_list<std::string_view> names) const;

  // One line of text, at most 2000 bytes; empty only where it is absent and has a fallback.
  std::string text(const std::string& key, std::optional<std::string> fallback = {}) const;
  // At most 64 lower-case letters, digits, and "._-%" behind the first.
  std::string name(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t low, int64_t high) const;
  double number(const std::string& key) const;
  std::string choice(const std::string& key, std::initializer_list<std::string_view> all) const;
  // A list of them, one at least, each once.
  std::vector<std::string> choices(const std::string& key,
                                   std::initializer_list<std::string_view> all) const;

  std::vector<std::string> texts(const std::string& key, size_t least, size_t most) const;
  Fields object(const std::string& key) const;
  // Of a list, which may be absent where `least` is 0.
  std::vector<Fields> objects(const std::string& key, size_t least, size_t most) const;
  using JsonFields::object;

  // "FILE: field 'KEY' is 'VALUE', not EXPECTED", and "...: REASON".
  using JsonFields::wrong;
  Error wrong(const std::string& key, const std::string& value, const std::string& expected) const;
  Error because(const std::string& key, const std::string& value, const std::string& reason) const;

 private:
  const nlohmann::json& list(const std::string& key, size_t least, size_t most) const;
  void check_text(const std::string& key, const std::string& text) const;

  std::string prefix_;
};

}  // namespace kvx::reproduce
