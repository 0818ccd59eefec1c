// Pages and pictures are mustache templates, reports/templates/*.mustache, compiled in.
#pragma once

#include <kainjow/mustache.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::eval {

using TemplateData = kainjow::mustache::data;
using TemplateObject = kainjow::mustache::object;

struct TemplateText {
  std::string_view name;  // "plot.svg"
  std::string_view text;
};

const std::vector<TemplateText>& template_texts();

// The template of that name filled in; values of {{...}} are escaped for HTML and XML. Throws
// std::logic_error where there is none of that name, or it cannot be read.
std::string render(std::string_view name, const TemplateData& data);

// A value for every item.
template <typename Items, typename ToData>
TemplateData template_list(const Items& items, const ToData& to_data) {
  TemplateData list(TemplateData::type::list);
  for (const auto& item : items) list.push_back(to_data(item));
  return list;
}

}  // namespace kvx::eval
