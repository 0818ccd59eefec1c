// A Hugging Face folder: config.json, and model.safetensors or the shards that its index names.
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <system_error>

#include "sim/model/checkpoint/hf_config.h"
#include "sim/model/checkpoint/json.h"
#include "sim/model/checkpoint/loaded.h"
#include "sim/model/checkpoint/safetensors.h"

namespace kvx::model {
namespace {

using nlohmann::json;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr size_t kMaxIndex = size_t{64} << 20;

std::string join(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

void load_file(const std::string& path, LoadedFiles& out) {
  out.files.push_back(std::make_unique<MappedFile>(path));
  for (auto& [name, tensor] : read_safetensors(*out.files.back())) {
    out.tensors.add(name, std::move(tensor));
  }
}

void load_shards(const std::string& folder, LoadedFiles& out) {
  const std::string index = join(folder, kIndex);
  const json object = read_json_object(index, kMaxIndex);
  const JsonFields fields(object, index);
  const json& map = fields.require("weight_map");
  if (!map.is_object()) throw fields.wrong("weight_map", "an object");
  std::map<std::string, size_t> shards;  // file name to number of tensors
  for (const auto& [name, shard] : map.items()) {
    // A shard lies in the folder itself: a path could name anything on the machine.
    const bool plain =
        shard.is_string() && shard.get_ref<const std::string&>().ends_with(".safetensors") &&
        shard.get_ref<const std::string&>().find_first_of(std::string_view("/\\\0", 3)) ==
            std::string::npos;
    if (!plain) {
      throw file_error(
          index, fmt::format("field 'weight_map.{}' is {}, not the name of a .safetensors file",
                             printable(name), printable(shard.dump(-1, ' ', true))));
    }
    ++shards[shard.get<std::string>()];
  }
  out.files.push_back(std::make_unique<MappedFile>(index));
  for (const auto& [shard, count] : shards) load_file(join(folder, shard), out);
  for (const auto& [name, shard] : map.items()) {
    const std::string path = join(folder, shard.get<std::string>());
    const StoredTensor* tensor = out.tensors.find(name);
    if (tensor == nullptr || tensor->file != path) {
      throw file_error(
          path, fmt::format("tensor {} is missing, {} says it is here", printable(name), kIndex));
    }
  }
  if (out.tensors.size() != map.size()) {
    throw file_error(index, fmt::format("field 'weight_map' names {} tensors, the shards hold {}",
                                        map.size(), out.tensors.size()));
  }
}

}  // namespace

LoadedFiles load_hf_folder(const std::string& folder) {
  LoadedFiles out(folder);
  const std::string config = join(folder, "config.json");
  out.config = read_hf_config(config);
  out.files.push_back(std::make_unique<MappedFile>(config));
  std::error_code ignored;
  if (std::filesystem::exists(join(folder, kSingle), ignored)) {
    load_file(join(folder, kSingle), out);
  } else if (std::filesystem::exists(join(folder, kIndex), ignored)) {
    load_shards(folder, out);
  } else {
    throw file_error(folder, fmt::format("holds neither {} nor {}", kSingle, kIndex));
  }
  out.tensors.require_decoder(out.config);
  return out;
}

}  // namespace kvx::model
