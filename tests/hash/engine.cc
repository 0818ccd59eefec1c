// Hashes of a transformer's logits: a seeded model that is written here, and a real one of 260
// thousand parameters where the development data is at hand.
#include "tests/hash/engine.h"

#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/model/loss_gradient.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvx::hash {
namespace {

std::vector<int32_t> some_tokens(const model::Model& model) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < 200; ++i)
    tokens.push_back(static_cast<int32_t>(i * i * 37 % model.config().vocab));
  return tokens;
}

// Logits of one pass over token ids of a fixed pattern.
Hash of_logits(const model::Model& model, const char* scheme, model::CacheMode mode,
               Arithmetic arithmetic) {
  model::Engine engine(model, ref::factory(Descriptor::parse(scheme)), mode, 2, NonFinite::kRefuse,
                       arithmetic);
  const std::vector<int32_t> tokens = some_tokens(model);
  const model::Chunk chunk{.seq = engine.open(), .tokens = tokens};
  Hash hash;
  engine.forward({&chunk, 1}, [&](int64_t, int64_t rows, const float* logits) {
    hash.add(std::span(logits, static_cast<size_t>(rows * model.config().vocab)));
  });
  return hash;
}

void lines(Report& report, const std::string& name, const std::filesystem::path& path,
           std::initializer_list<const char*> schemes, Arithmetic arithmetic = Arithmetic::kIeee) {
  const auto checkpoint = model::Checkpoint::open(path.string());
  const model::Model model(*checkpoint);
  const char* in = arithmetic == Arithmetic::kFixed ? ".fixed" : "";
  for (const char* scheme : schemes) {
    for (const model::CacheMode mode : {model::CacheMode::kStreamed, model::CacheMode::kAll})
      report.line(name + "." + scheme + "." + model::cache_mode_name(mode) + in,
                  of_logits(model, scheme, mode, arithmetic));
  }
}

// Gradients of one window of a seeded model, and what calibrations on it write.
void calibrations(Report& report, const std::string& name, const test::TinyModelSpec& spec) {
  const test::TempDir folder;
  test::write_tiny_model(folder.path(), spec);
  const auto checkpoint = model::Checkpoint::open(folder.path().string());
  const model::Model model(*checkpoint);
  model::CpuLossGradient gradient(model, ref::factory(Descriptor::parse("fp:f32")), 2);
  const auto fine = ref::make_calibrator(Descriptor::parse("kvquant:nuq4,o0.05,profile=paper"));
  const auto coarse = ref::make_calibrator(Descriptor::parse("kvquant:nuq2,vaxis=channel"));
  const std::vector<int32_t> tokens = some_tokens(model);
  Hash hash, tables;
  gradient.run(tokens, [&](const model::KvGradient& of) {
    for (const ConstRows x : {of.dk_pre, of.dk, of.dv})
      hash.add(std::span(x.data, static_cast<size_t>(x.tokens * x.heads * x.dim)));
    for (const auto& calibrator : {fine.get(), coarse.get()})
      calibrator->observe(
          {.layer = of.layer, .window = 0, .k = of.k_pre, .v = of.v, .dk = of.dk_pre, .dv = of.dv});
  });
  report.line("seeded." + name + ".gradients", hash);
  for (const auto& calibrator : {fine.get(), coarse.get()}) {
    for (int64_t piece = 0; piece < calibrator->pieces(); ++piece) calibrator->fit(piece);
    calibrator->export_to([&](const std::string&, const std::string&, const std::vector<int64_t>&,
                              std::span<const std::byte> bytes) {
      for (const std::byte byte : bytes) tables.add(static_cast<uint8_t>(byte));
    });
  }
  report.line("seeded." + name + ".calibrations", tables);
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
                  std::initializer_list<const char*> schemes,
                  Arithmetic arithmetic = Arithmetic::kIeee) {
  const test::TempDir folder;
  test::write_tiny_model(folder.path(), spec);
  lines(report, "seeded." + name, folder.path(), schemes, arithmetic);
}

}  // namespace

void seeded_models(Report& report) {
  test::TinyModelSpec llama = small_spec();
  for (const model::DType dtype : {model::DType::kF32, model::DType::kBf16}) {
    llama.dtype = dtype;
    seeded_model(report, model::dtype_name(dtype), llama,
                 {"fp:f32", "int:k3v4,kaxis=channel", "kivi:k2v2,r32"});
  }
  seeded_model(report, model::dtype_name(llama.dtype), llama,
               {"int:k3v4,kaxis=channel", "kivi:k2v2,r32"}, Arithmetic::kFixed);
  test::TinyModelSpec scaled = small_spec();
  scaled.rope_scaling = {
      .rule = num::RopeScaling::Rule::kLlama3, .factor = 8, .low = 1, .high = 4, .original = 256};
  seeded_model(report, "llama3", scaled, {"fp:f32"});
  for (const char* architecture : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    test::TinyModelSpec qwen = small_spec();
    qwen.architecture = architecture;
    seeded_model(report, architecture, qwen, {"fp:f32", "kivi:k2v2,r32"});
    calibrations(report, architecture, qwen);
  }
}

void stories(Report& report) {
  const char* data = std::getenv("KVX_DATA");
  if (data == nullptr) return;
  const std::filesystem::path path = std::filesystem::path(data) / "models/stories260K/hf";
  if (std::filesystem::exists(path)) lines(report, "stories260K", path, {"fp:f32", "int:k4v4,g8"});
}

}  // namespace kvx::hash
