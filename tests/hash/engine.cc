// Hashes of a transformer's logits: a seeded model that is written here, and a real one of 260
// thousand parameters where the development data is at hand.
#include "tests/hash/engine.h"

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "ref/registry.h"
#include "sim/model/engine.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvx::hash {
namespace {

// Logits of one pass over token ids of a fixed pattern.
Hash of_logits(const model::Model& model, const char* scheme, model::CacheMode mode) {
  model::Engine engine(model, ref::factory(Descriptor::parse(scheme)), mode, 2);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < 200; ++i)
    tokens.push_back(static_cast<int32_t>(i * i * 37 % model.config().vocab));
  const model::Chunk chunk{.seq = engine.open(), .tokens = tokens};
  Hash hash;
  engine.forward({&chunk, 1}, [&](int64_t, int64_t rows, const float* logits) {
    hash.add(std::span(logits, static_cast<size_t>(rows * model.config().vocab)));
  });
  return hash;
}

void lines(Report& report, const std::string& name, const std::filesystem::path& path,
           std::initializer_list<const char*> schemes) {
  const auto checkpoint = model::Checkpoint::open(path.string());
  const model::Model model(*checkpoint);
  for (const char* scheme : schemes) {
    for (const model::CacheMode mode : {model::CacheMode::kStreamed, model::CacheMode::kAll})
      report.line(name + "." + scheme + "." + model::cache_mode_name(mode),
                  of_logits(model, scheme, mode));
  }
}

test::TinyModelSpec small_spec() {
  test::TinyModelSpec spec;
  spec.hidden = 96;
  spec.heads = 6;
  spec.head_dim = 32;
  spec.ffn = 136;
  spec.seed = 5;
  return spec;
}

void seeded_model(Report& report, const std::string& name, const test::TinyModelSpec& spec,
                  std::initializer_list<const char*> schemes) {
  const test::TempDir folder;
  test::write_tiny_model(folder.path(), spec);
  lines(report, "seeded." + name, folder.path(), schemes);
}

}  // namespace

void seeded_models(Report& report) {
  test::TinyModelSpec llama = small_spec();
  for (const model::DType dtype : {model::DType::kF32, model::DType::kBf16}) {
    llama.dtype = dtype;
    seeded_model(report, model::dtype_name(dtype), llama,
                 {"fp:f32", "int:k3v4,kaxis=channel", "kivi:k2v2,r32"});
  }
  test::TinyModelSpec scaled = small_spec();
  scaled.rope_scaling = {
      .rule = num::RopeScaling::Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 256};
  seeded_model(report, "llama3", scaled, {"fp:f32"});
  for (const char* architecture : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    test::TinyModelSpec qwen = small_spec();
    qwen.architecture = architecture;
    seeded_model(report, architecture, qwen, {"fp:f32", "kivi:k2v2,r32"});
  }
}

void stories(Report& report) {
  const char* data = std::getenv("KVX_DATA");
  if (data == nullptr) return;
  const std::filesystem::path path = std::filesystem::path(data) / "models/stories260K/hf";
  if (std::filesystem::exists(path)) lines(report, "stories260K", path, {"fp:f32", "int:k4v4,g8"});
}

}  // namespace kvx::hash
