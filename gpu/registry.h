// The CUDA side by descriptor. Built with CUDA, or as a stub that says it is absent: then every
// function that needs a device throws an environment Error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "sim/api/artifact.h"
#include "sim/api/cache.h"
#include "sim/api/descriptor.h"
#include "sim/model/checkpoint.h"
#include "sim/model/kv_gradient.h"
#include "sim/model/transformer.h"

namespace kvx::gpu {

// Whether this build carries CUDA kernels at all.
bool built();

// Why no kernel can run here ("built without CUDA", "no device: ..."); empty where one can.
std::string unavailable();

// Whether there are kernels for the scheme of this name.
bool has_kernel(std::string_view scheme);

// One line per device, or why there is none.
std::string device_report();

// The device cache of one layer: memory grows with its sequences. Throws a usage Error where the
// scheme has no kernels, or descriptor and shape do not fit.
std::unique_ptr<LayerCache> make_cache(const Descriptor& descriptor, const CacheConfig& config);

// Weights in device memory.
class DeviceModel;
std::shared_ptr<const DeviceModel> load_model(const model::Checkpoint& checkpoint);

// What an engine takes memory for when it is made.
struct EngineLimits {
  int32_t sequences = 1;
  int32_t tokens = 0;     // of the longest sequence; 0: the model's positions
  int32_t pass_rows = 0;  // tokens of the largest pass; 0: one sequence of `tokens`
};

struct EngineSettings {
  model::CacheMode mode = model::CacheMode::kStreamed;
  NonFinite nonfinite = NonFinite::kRefuse;
  Arithmetic arithmetic = Arithmetic::kIeee;  // of attention over the caches
  Artifacts artifacts = nullptr;
  EngineLimits limits;
};

// Throws an environment Error naming the memory needed and free, and the batch that fits, where it
// does not fit; a usage Error where the scheme has no kernels.
std::unique_ptr<model::Transformer> make_engine(std::shared_ptr<const DeviceModel> model,
                                                const Descriptor& scheme,
                                                const EngineSettings& settings);

// Gradients of the loss of windows of up to `tokens` tokens: the bits of model::CpuLossGradient.
// Takes all memory when it is made, a transposed copy of the weights included; throws an
// environment Error naming the memory needed and free where it does not fit.
std::unique_ptr<model::LossGradient> make_loss_gradient(std::shared_ptr<const DeviceModel> model,
                                                        int64_t tokens);

}  // namespace kvx::gpu
