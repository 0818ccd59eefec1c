// manifest.json of a folder of goldens.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "eval/files.h"
#include "eval/golden.h"
#include "eval/number.h"
#include "sim/api/error.h"
#include "sim/model/checkpoint/json.h"

namespace kvx::eval {
namespace fs = std::filesystem;

namespace {

using model::JsonFields;

constexpr const char* kManifest = "manifest.json";
constexpr size_t kMaxManifest = size_t{64} << 20;

std::string sha256_field(const JsonFields& fields) {
  const std::string hash = fields.string("sha256");
  if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw fields.wrong("sha256", "64 hexadecimal digits");
  return hash;
}

// The name of a file in the folder, not a way out of it.
std::string name_field(const JsonFields& fields, const char* key) {
  const std::string name = fields.string(key);
  if (name.empty() || name.find('/') != std::string::npos || name.starts_with('.'))
    throw fields.wrong(key, "the name of a file in the folder");
  return name;
}

std::string choice_field(const JsonFields& fields, const char* key, const std::string& a,
                         const std::string& b) {
  const std::string value = fields.string(key);
  if (value != a && value != b) throw fields.wrong(key, fmt::format("{} or {}", a, b));
  return value;
}

std::vector<int64_t> shape_field(const JsonFields& fields) {
  std::vector<int64_t> shape;
  const nlohmann::json& list = fields.require("shape");
  const bool good = list.is_array() && list.size() <= 8 &&
                    std::all_of(list.begin(), list.end(), [](const nlohmann::json& item) {
                      return item.is_number_unsigned() && item.get<uint64_t>() >> 31 == 0;
                    });
  if (!good) throw fields.wrong("shape", "a list of at most 8 integers below 2^31");
  for (const nlohmann::json& item : list) shape.push_back(item.get<int64_t>());
  return shape;
}

const nlohmann::json& list_field(const JsonFields& fields, const char* key) {
  const nlohmann::json& list = fields.require(key);
  if (!list.is_array()) throw fields.wrong(key, "a list");
  return list;
}

GoldenInput read_input(const JsonFields& fields) {
  GoldenInput input;
  try {
    input.fill = gen::parse_fill(fields.string("fill"));
  } catch (const Error& error) {
    throw fields.wrong("fill", error.what());
  }
  const nlohmann::json& seed = fields.require("seed");
  if (!seed.is_number_unsigned()) throw fields.wrong("seed", "a non-negative integer");
  input.seed = seed.get<uint64_t>();
  input.dtype = choice_field(fields, "dtype", "F16", "F32");
  const std::vector<int64_t> shape = shape_field(fields);
  if (shape.size() != 4) throw fields.wrong("shape", "[batch, kv heads, tokens, head dim]");
  input.shape = {shape[0], shape[1], shape[2], shape[3]};
  input.sha256 = sha256_field(fields);
  if (name_field(fields, "file") != input.file())
    throw fields.wrong("file",
                       fmt::format("'{}', as fill, shape, dtype and seed ask for", input.file()));
  return input;
}

GoldenCase read_case(const JsonFields& fields, const std::vector<GoldenInput>& inputs) {
  GoldenCase golden;
  golden.name = name_field(fields, "name");
  golden.scheme = fields.string("scheme");
  golden.mode = choice_field(fields, "mode", "streamed", "all");
  golden.nonfinite = choice_field(fields, "nonfinite", "refuse", "propagate");
  const std::string input = fields.string("input");
  const auto found = std::find_if(inputs.begin(), inputs.end(),
                                  [&](const GoldenInput& known) { return known.file() == input; });
  if (found == inputs.end()) throw fields.wrong("input", "the file of one of the inputs");
  golden.input = static_cast<size_t>(found - inputs.begin());
  golden.sha256 = sha256_field(fields);
  const nlohmann::json& tensors = fields.require("tensors");
  if (!tensors.is_object()) throw fields.wrong("tensors", "an object");
  for (const auto& [name, value] : tensors.items()) {
    const JsonFields tensor(value, fields.file(), golden.name + "." + name + ".");
    golden.tensors[name] = {tensor.string("dtype"), shape_field(tensor), sha256_field(tensor)};
  }
  return golden;
}

}  // namespace

Golden read_golden(const std::string& folder) {
  Golden golden;
  golden.folder = folder;
  const std::string path = golden.path(kManifest);
  const nlohmann::json manifest = model::read_json_object(path, kMaxManifest);
  const JsonFields fields(manifest, path);
  if (fields.string("schema") != kGoldenSchema)
    throw fields.wrong("schema", fmt::format("'{}'", kGoldenSchema));
  for (const auto& [index, value] : list_field(fields, "inputs").items())
    golden.inputs.push_back(read_input({value, path, fmt::format("inputs[{}].", index)}));
  for (const auto& [index, value] : list_field(fields, "cases").items())
    golden.cases.push_back(
        read_case({value, path, fmt::format("cases[{}].", index)}, golden.inputs));
  return golden;
}

void write_manifest(const Golden& golden) {
  Json manifest{{"schema", kGoldenSchema}, {"inputs", Json::array()}, {"cases", Json::array()}};
  for (const GoldenInput& input : golden.inputs) {
    const BatchShape& s = input.shape;
    manifest["inputs"].push_back({{"file", input.file()},
                                  {"sha256", input.sha256},
                                  {"fill", gen::fill_name(input.fill)},
                                  {"seed", input.seed},
                                  {"dtype", input.dtype},
                                  {"shape", {s.batch, s.kv_heads, s.tokens, s.head_dim}}});
  }
  for (const GoldenCase& one : golden.cases) {
    Json tensors = Json::object();
    for (const auto& [name, tensor] : one.tensors)
      tensors[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"sha256", tensor.sha256}};
    manifest["cases"].push_back({{"name", one.name},
                                 {"scheme", one.scheme},
                                 {"mode", one.mode},
                                 {"nonfinite", one.nonfinite},
                                 {"input", golden.inputs[one.input].file()},
                                 {"sha256", one.sha256},
                                 {"tensors", tensors}});
  }
  write_file(golden.path(kManifest), json_text(manifest, 1) + "\n");
}

std::vector<std::string> golden_folders(const std::string& path) {
  std::error_code error;
  if (fs::exists(fs::path(path) / kManifest, error)) return {path};
  std::vector<std::string> folders;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
    if (fs::exists(it->path() / kManifest)) folders.push_back(it->path().string());
  if (error) throw environment_error(fmt::format("{}: {}", path, error.message()));
  if (folders.empty())
    throw environment_error(fmt::format("{}: no {} here or in a folder below", path, kManifest));
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace kvx::eval
