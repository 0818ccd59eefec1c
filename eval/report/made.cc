#include "eval/report/made.h"

#include <fmt/core.h>

#include "eval/report/html.h"

namespace kvx::report {
namespace {

using eval::TemplateData;
using eval::TemplateObject;

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : eval::json_text(value, -1);
}

// The fields of an object as "name: value".
template <typename AnyJson>
TemplateData fields(const AnyJson& object) {
  TemplateData list(TemplateData::type::list);
  for (const auto& [name, value] : object.items())
    list.push_back(TemplateObject{{"name", name}, {"value", text_of(Json(value))}});
  return list;
}

std::string command_of(const Json& session) {
  std::vector<std::string> words;
  if (session.is_object() && session.contains("command") && session.at("command").is_array())
    for (const Json& word : session.at("command")) words.push_back(text_of(word));
  return shell_line(words);
}

TemplateData session_data(const Json& session) {
  TemplateData data;
  data["command"] = command_of(session);
  Json rest = session;
  if (rest.is_object()) rest.erase("command");
  data["fields"] = rest.is_object() ? fields(rest) : TemplateData(TemplateData::type::list);
  return data;
}

}  // namespace

std::string made_html(const Model& model) {
  TemplateData data;
  data["identity"] = fields(model.identity);
  data["tasks"] = eval::template_list(model.tasks, [](const Task& task) -> TemplateData {
    return TemplateObject{{"name", task.name}, {"fields", fields(task.identity)}};
  });
  data["runs"] =
      eval::template_list(model.runs, [](const std::shared_ptr<const Run>& run) -> TemplateData {
        TemplateData one;
        one["path"] = run->path;
        one["data"] = run->header.contains("data") ? text_of(run->header.at("data")) : "";
        one["sessions"] = eval::template_list(run->header.at("sessions"), session_data);
        return one;
      });
  return eval::render("made.html", data);
}

}  // namespace kvx::report
