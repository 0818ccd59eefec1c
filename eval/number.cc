#include "eval/number.h"

#include <fmt/core.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace kvx::eval {

Json exact_number(double value) {
  Json json;
  if (std::isfinite(value)) {
    json["value"] = value;
  } else {
    json["value"] = nullptr;
    json["class"] = std::isnan(value) ? "nan" : value > 0 ? "+inf" : "-inf";
  }
  json["bits"] = fmt::format("{:016x}", std::bit_cast<uint64_t>(value));
  return json;
}

double parse_exact_number(const Json& json) {
  const std::string& text = json.at("bits").get_ref<const std::string&>();
  uint64_t bits = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), bits, 16);
  if (text.size() != 16 || error != std::errc() || stop != text.data() + text.size())
    throw std::runtime_error(fmt::format("bits '{}' are not 16 hex digits", text));
  return std::bit_cast<double>(bits);
}

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kvx::eval
