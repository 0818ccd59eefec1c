#include "eval/template.h"

#include <fmt/core.h>

#include <map>
#include <regex>
#include <stdexcept>

#include "eval/xml_escape.h"

namespace kvx::eval {
namespace {

using Parsed = std::map<std::string_view, kainjow::mustache::mustache>;

// A line that holds the tag of a section and nothing else leaves no line behind.
std::string without_tag_lines(std::string_view text) {
  static const std::regex kTagLine(R"((^|\n)(\{\{[#^/][^}]*\}\})(?=\n))");
  std::string out = std::regex_replace(std::string(text), kTagLine, "$1$2\x01");
  for (size_t at = 0; (at = out.find("\x01\n", at)) != std::string::npos;) out.erase(at, 2);
  return out;
}

Parsed parse_all() {
  Parsed parsed;
  for (const TemplateText& one : template_texts()) {
    kainjow::mustache::mustache text(without_tag_lines(one.text));
    text.set_custom_escape([](const std::string& value) { return xml_escape(value); });
    if (!text.is_valid())
      throw std::logic_error(fmt::format("template {}: {}", one.name, text.error_message()));
    parsed.emplace(one.name, std::move(text));
  }
  return parsed;
}

}  // namespace

std::string render(std::string_view name, const TemplateData& data) {
  static Parsed parsed = parse_all();
  const auto found = parsed.find(name);
  if (found == parsed.end()) throw std::logic_error(fmt::format("no template {}", name));
  return found->second.render(data);
}

}  // namespace kvx::eval
