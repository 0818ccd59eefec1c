#include "eval/template.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "eval/xml_escape.h"

namespace kvx::eval {
namespace {

using Parsed = std::map<std::string_view, kainjow::mustache::mustache>;

bool is_section_tag(std::string_view line) {
  return line.size() > 5 &&
         (line.starts_with("{{#") || line.starts_with("{{^") || line.starts_with("{{/")) &&
         line.find('}') == line.size() - 2 && line.ends_with("}}");
}

// A line that holds the tag of a section and nothing else leaves no line behind.
std::string without_tag_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    out += line;
    if (end < text.size() && !is_section_tag(line)) out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
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
