// Writes the valid inputs into FOLDER/TARGET/.
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

#include "sim/api/schema.h"
#include "tests/support/tiny_model.h"

using kvx::test::write_file;
namespace fs = std::filesystem;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
    return 2;
  }
  const fs::path out = argv[1];
  for (const char* target : {"gguf", "safetensors", "config", "tokenizer_json", "tokenizer_model",
                             "descriptor", "needle", "recipe"})
    fs::create_directories(out / target);
  const kvx::test::TinyModelSpec spec = kvx::test::smallest_tiny_model();
  const kvx::test::TempDir folder;
  kvx::test::write_tiny_model(folder.path(), spec);
  const auto overwrite = fs::copy_options::overwrite_existing;
  fs::copy_file(folder / "model.safetensors", out / "safetensors" / "seed", overwrite);
  fs::copy_file(folder / "config.json", out / "config" / "seed", overwrite);
  fs::copy_file(folder / "tokenizer.json", out / "tokenizer_json" / "seed", overwrite);
  using kvx::model::DType;
  for (const DType type : {DType::kF16, DType::kQ8_0, DType::kQ4_1})
    kvx::test::write_tiny_gguf(out / "gguf" / (std::string("seed-") + kvx::model::dtype_name(type)),
                               spec, type);
  for (const char* name : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    kvx::test::TinyModelSpec other = spec;
    other.architecture = name;
    write_file(out / "config" / name, kvx::test::tiny_config_json(other));
    kvx::test::write_tiny_gguf(out / "gguf" / name, other, DType::kQ5_1);
  }
  write_file(out / "needle" / "words", R"({"adjectives": ["red", "new"], "nouns": ["house"]})");
  write_file(out / "needle" / "prose", "One two. \"Three?\" (Four!)\n\nFive");
  for (const kvx::Alias& alias : kvx::aliases())
    write_file(out / "descriptor" / alias.name, std::string(alias.descriptor));
  int index = 0;
  for (const char* text :
       {"int:k{2,3,8}v{4,{5,6}},g16,kaxis=channel,sym", "kivi@1:k4v2,g64,r0,profile=paper",
        "kivi2:g64", "fp8:e4m3,scale=head,cal=#0123456789abcdef", "ggml:{q8_0,q5_1}"})
    write_file(out / "descriptor" / ("text" + std::to_string(index++)), text);
}
