#include "eval/check/family.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "eval/check/scales.h"
#include "eval/files.h"
#include "eval/number.h"
#include "ref/registry.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "sim/gen/random.h"

namespace kvx::check {
namespace {

namespace fs = std::filesystem;
using eval::Json;

// An axis of a grid: its key and the texts it takes.
struct Axis {
  std::string key;
  std::vector<std::string> values;
};

constexpr const char* kAxes[] = {"descriptors", "heads", "dims",    "fills",  "steps", "windows",
                                 "nonfinite",   "batch", "inspect", "attend", "seeds"};
constexpr const char* kOther[] = {"name", "about", "product", "repeat", "smoke", "any", "all"};

std::vector<std::string> texts(const Json& json) {
  std::vector<std::string> values;
  for (const Json& value : json)
    values.push_back(value.is_string() ? value.get<std::string>() : value.dump());
  return values;
}

std::vector<Axis> read_axes(const Json& family) {
  std::vector<Axis> axes;
  for (const char* key : kAxes) {
    if (!family.contains(key)) continue;
    Axis axis{key, texts(family.at(key))};
    if (axis.key == "descriptors") {
      std::vector<std::string> expanded;
      for (const std::string& sweep : axis.values)
        for (const std::string& one : expand_sweep(sweep)) expanded.push_back(one);
      axis.values = expanded;
    }
    if (axis.values.empty()) throw usage_error(fmt::format("{} is empty", key));
    axes.push_back(std::move(axis));
  }
  return axes;
}

void check_keys(const Json& family) {
  for (const auto& [key, value] : family.items()) {
    const auto is = [&key = key](const char* known) { return key == known; };
    if (std::none_of(std::begin(kAxes), std::end(kAxes), is) &&
        std::none_of(std::begin(kOther), std::end(kOther), is))
      throw usage_error(fmt::format("unknown key '{}'", key));
  }
}

// g and r of the steps of a descriptor: its own; without them, the group of 32 and the segment.
StepLetters letters_of(const Descriptor& descriptor) {
  StepLetters letters{32, 256};
  for (const KeySpec& key : descriptor.schema().keys) {
    if (key.name == "g") letters.g = descriptor.find_int("g").value_or(32);
    if (key.name == "r") letters.r = std::max<int64_t>(32, descriptor.get_int("r"));
  }
  return letters;
}

// "ties", "ties/normal", "ties/normal/heavy": K, V (as K), Q (normal).
void set_fills(Case& one, const std::string& text) {
  const size_t a = std::min(text.find('/'), text.size());
  const size_t b = std::min(text.find('/', std::min(a + 1, text.size())), text.size());
  one.k = one.v = gen::parse_fill(text.substr(0, a));
  if (a < text.size()) one.v = gen::parse_fill(text.substr(a + 1, b - a - 1));
  if (b < text.size()) one.q = gen::parse_fill(text.substr(b + 1));
}

// Of a case of the smoke set, where a family has any that short.
constexpr int64_t kSmokeProducts = 100'000'000;

using Chosen = std::map<std::string, std::string>;

Case make_case(const Chosen& chosen) {
  const auto value = [&](const char* key, const char* fallback) {
    const auto found = chosen.find(key);
    return found == chosen.end() ? fallback : found->second;
  };
  // Through the text of a case, so that one parser judges both.
  Case one = parse_case(fmt::format(
      "scheme={} heads={} dim={} seed={} steps=1 batch={} windows={} nonfinite={} inspect={} "
      "attend={}",
      value("descriptors", ""), value("heads", "2/1"), value("dims", "64"), value("seeds", "1"),
      value("batch", "1"), value("windows", "kept"), value("nonfinite", "refuse"),
      value("inspect", "end"), value("attend", "end")));
  set_fills(one, value("fills", "normal"));
  const Descriptor descriptor = Descriptor::parse(one.scheme);
  one.scheme = descriptor.str();
  one.steps = parse_steps(value("steps", "33"), letters_of(descriptor));
  return one;
}

// Whether the scheme takes the shape at all.
bool possible(const Case& one) {
  try {
    return !one.steps.empty() &&
           ref::make_cache(Descriptor::parse(one.scheme), case_config(one)) != nullptr;
  } catch (const Error& error) {
    if (error.exit() == Exit::kUsage) return false;
    throw;
  }
}

// Of the attention of a case, about: what a race detector needs most of its time for.
int64_t products(const Case& one) {
  return one.tokens() * one.tokens() * one.q_heads * one.dim * one.batch;
}

void enumerate(const Json& json, Family& family) {
  const std::vector<Axis> axes = read_axes(json);
  const std::vector<std::string> product = texts(json.value("product", Json::array()));
  for (const std::string& key : product)
    if (std::none_of(axes.begin(), axes.end(), [&](const Axis& axis) { return axis.key == key; }))
      throw usage_error(fmt::format("product names '{}', which the family does not list", key));
  uint64_t points = json.value("repeat", uint64_t{1});
  for (const Axis& axis : axes)
    if (std::count(product.begin(), product.end(), axis.key) > 0) points *= axis.values.size();
  for (uint64_t point = 0; point < points; ++point) {
    uint64_t rest = point;
    Chosen chosen;
    for (size_t a = 0; a < axes.size(); ++a) {
      const Axis& axis = axes[a];
      const uint64_t size = axis.values.size();
      const bool each = std::count(product.begin(), product.end(), axis.key) > 0;
      const uint64_t index =
          each ? rest % size : gen::Source{1, static_cast<uint32_t>(a), 0}.words(point)[0] % size;
      if (each) rest /= size;
      chosen[axis.key] = axis.values[index];
    }
    if (!chosen.contains("seeds"))
      chosen["seeds"] = std::to_string(gen::Source{1, 0, 1}.words(point)[0] % 100000);
    Case one = make_case(chosen);
    one.arithmetic = family.arithmetic;
    if (!possible(one)) continue;
    one.name = fmt::format("{}/{}", family.name, family.cases.size());
    family.cases.push_back(std::move(one));
  }
  if (family.cases.empty()) throw usage_error("the scheme refuses every case");
  family.size = family.cases.size();
  const size_t smoke = std::min(json.value("smoke", size_t{8}), family.cases.size());
  // One out of each part of the family, so that no step of the grid is missed by a common factor:
  // from a drawn place on the first that is short, if one is.
  for (uint64_t i = 0; i < smoke; ++i) {
    const uint64_t begin = i * family.size / smoke, end = (i + 1) * family.size / smoke;
    const uint64_t draw = gen::Source{1, 0, 2}.words(i)[0];
    for (uint64_t k = 0; k < end - begin; ++k) {
      const uint64_t at = begin + (draw + k) % (end - begin);
      if (products(family.cases[at]) > kSmokeProducts) continue;
      family.smoke.push_back(at);
      break;
    }
  }
  if (smoke == 0 || !family.smoke.empty()) return;
  const auto least = std::ranges::min_element(family.cases, {}, products);
  family.smoke.push_back(static_cast<size_t>(least - family.cases.begin()));
}

}  // namespace

std::vector<Family> parse_families(const std::string& text, const std::string& where) {
  std::string at = where;
  try {
    const Json document = Json::parse(text);
    const std::string scheme = document.at("scheme").get<std::string>();
    const Events events = parse_events(texts(document.at("events")));
    const Arithmetic arithmetic = parse_arithmetic(document.value("arithmetic", "ieee"));
    std::vector<Family> families;
    for (const Json& json : document.at("families")) {
      Family family;
      family.scheme = scheme;
      family.arithmetic = arithmetic;
      family.name = scheme + "/" + json.at("name").get<std::string>();
      at = where + ": " + family.name;
      check_keys(json);
      family.any = json.contains("any") ? parse_events(texts(json.at("any"))) : events;
      family.all = parse_events(texts(json.value("all", Json::array())));
      enumerate(json, family);
      families.push_back(std::move(family));
    }
    return families;
  } catch (const nlohmann::json::exception& error) {
    throw environment_error(fmt::format("{}: {}", at, error.what()));
  } catch (const Error& error) {
    throw environment_error(fmt::format("{}: {}", at, error.what()));
  }
}

std::vector<Family> read_families(const std::string& folder, Arithmetic arithmetic) {
  std::vector<Family> families;
  for (const SchemeSchema& scheme : schemes()) {
    const std::string of_scheme = folder + "/" + std::string(scheme.name);
    std::error_code error;
    std::vector<std::string> paths;
    for (const fs::directory_entry& entry : fs::directory_iterator(of_scheme, error))
      if (entry.path().extension() == ".json") paths.push_back(entry.path().string());
    if (paths.empty()) throw environment_error(fmt::format("{}: no families of cases", of_scheme));
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths)
      for (Family& family : parse_families(eval::read_file(path), path)) {
        if (family.scheme != scheme.name)
          throw environment_error(fmt::format("{}: scheme '{}'", path, family.scheme));
        if (family.arithmetic == arithmetic) families.push_back(std::move(family));
      }
  }
  return families;
}

}  // namespace kvx::check
