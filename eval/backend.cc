#include "eval/backend.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>

#include "eval/options.h"
#include "gpu/registry.h"
#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/model/engine.h"
#include "sim/model/loss_gradient.h"

namespace kvx::eval {
namespace {

constexpr std::array<std::string_view, 2> kNames{kCpu, kCuda};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const model::Checkpoint& checkpoint, int threads)
      : model_(checkpoint), threads_(threads) {}

  std::string_view name() const override { return kCpu; }
  const model::ModelConfig& config() const override { return model_.config(); }
  model::Transformer& engine(const EngineNeeds& needs) override {
    engine_.reset();
    engine_ =
        std::make_unique<model::Engine>(model_, ref::factory(needs.scheme, needs.artifacts),
                                        needs.mode, threads_, needs.nonfinite, needs.arithmetic);
    return *engine_;
  }
  std::unique_ptr<model::LossGradient> loss_gradient(int64_t) override {
    return std::make_unique<model::CpuLossGradient>(
        model_, ref::factory(Descriptor::parse(kBaseScheme)), threads_);
  }

 private:
  model::Model model_;
  int threads_;
  std::unique_ptr<model::Engine> engine_;
};

// Keeps its engines, as making one takes device and pinned memory, until one more does not fit.
class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const model::Checkpoint& checkpoint)
      : config_(checkpoint.config()), model_(gpu::load_model(checkpoint)) {}

  std::string_view name() const override { return kCuda; }
  const model::ModelConfig& config() const override { return config_; }
  model::Transformer& engine(const EngineNeeds& needs) override {
    const std::string key = fmt::format("{}/{}/{}/{}/{}/{}/{}", model::cache_mode_name(needs.mode),
                                        needs.scheme.versioned(), static_cast<int>(needs.nonfinite),
                                        arithmetic_name(needs.arithmetic), needs.sequences,
                                        needs.tokens, needs.pass_rows);
    if (const auto found = engines_.find(key); found != engines_.end()) return *found->second;
    if (engines_.size() >= kMostEngines) engines_.clear();
    return *engines_.emplace(key, make(needs)).first->second;
  }
  std::unique_ptr<model::LossGradient> loss_gradient(int64_t tokens) override {
    engines_.clear();
    return gpu::make_loss_gradient(model_, tokens);
  }

 private:
  static constexpr size_t kMostEngines = 64;

  std::unique_ptr<model::Transformer> make(const EngineNeeds& needs) {
    const gpu::EngineSettings settings{
        .mode = needs.mode,
        .nonfinite = needs.nonfinite,
        .arithmetic = needs.arithmetic,
        .artifacts = needs.artifacts,
        .limits = {.sequences = static_cast<int32_t>(needs.sequences),
                   .tokens = static_cast<int32_t>(needs.tokens),
                   .pass_rows = static_cast<int32_t>(needs.pass_rows)}};
    try {
      return gpu::make_engine(model_, needs.scheme, settings);
    } catch (const Error& error) {
      if (error.exit() != Exit::kEnvironment || engines_.empty()) throw;
    }
    engines_.clear();
    return gpu::make_engine(model_, needs.scheme, settings);
  }

  model::ModelConfig config_;
  std::shared_ptr<const gpu::DeviceModel> model_;
  std::map<std::string, std::unique_ptr<model::Transformer>> engines_;
};

}  // namespace

Arithmetic scheme_arithmetic(const Descriptor& scheme, Arithmetic run) {
  return scheme == Descriptor::parse(kBaseScheme) ? Arithmetic::kIeee : run;
}

std::unique_ptr<Backend> open_backend(std::string_view name, const model::Checkpoint& checkpoint,
                                      int threads) {
  if (name == kCpu) return std::make_unique<CpuBackend>(checkpoint, threads);
  if (const std::string reason = backend_unavailable(name); !reason.empty())
    throw environment_error(fmt::format("--backend {}: {}", name, reason));
  return std::make_unique<CudaBackend>(checkpoint);
}

std::string backend_unavailable(std::string_view name) {
  return name == kCpu ? "" : gpu::unavailable();
}

std::vector<std::string> parse_backends(const std::string& text) {
  const std::vector<std::string> asked = split_commas({text});
  for (const std::string& name : asked) check_choice("--backend", name, kNames);
  std::vector<std::string> backends;
  for (const std::string_view name : kNames)
    if (std::find(asked.begin(), asked.end(), name) != asked.end()) backends.emplace_back(name);
  return backends;
}

}  // namespace kvx::eval
