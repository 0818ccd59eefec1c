// What computes a pass: the CPU reference or the CUDA engine. In `ieee` both give the same bits, so
// results do not depend on which it was.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/api/descriptor.h"
#include "sim/model/checkpoint.h"
#include "sim/model/kv_gradient.h"
#include "sim/model/transformer.h"

namespace kvx::eval {

// The unquantised scheme, which every other is compared with.
inline constexpr const char* kBaseScheme = "fp:f32";

// In the order in which they run and are recorded.
inline constexpr const char* kCpu = "cpu";
inline constexpr const char* kCuda = "cuda";

// Of attention over the caches of a scheme in a run: the run's, but `ieee` of the unquantised
// model.
Arithmetic scheme_arithmetic(const Descriptor& scheme, Arithmetic run);

// What an engine is asked for.
struct EngineNeeds {
  Descriptor scheme;
  model::CacheMode mode = model::CacheMode::kStreamed;
  NonFinite nonfinite = NonFinite::kRefuse;
  Arithmetic arithmetic = Arithmetic::kIeee;  // as scheme_arithmetic says
  Artifacts artifacts = nullptr;
  int64_t sequences = 1;  // open at a time, at most
  int64_t tokens = 0;     // of the longest sequence
  int64_t pass_rows = 0;  // of the largest pass
};

// Holds a model's weights where it computes.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  virtual const model::ModelConfig& config() const = 0;
  // An engine without open sequences, lent until the next call; the borrower closes what it opens.
  // Throws what making it throws: a usage Error where the scheme has no kernels, an environment
  // Error where memory does not suffice.
  virtual model::Transformer& engine(const EngineNeeds& needs) = 0;
  // Gradients of the loss of windows of up to `tokens` tokens; to be gone before the backend.
  // Throws an environment Error where memory does not suffice.
  virtual std::unique_ptr<model::LossGradient> loss_gradient(int64_t tokens) = 0;
};

// Opens a backend by name with the weights of a checkpoint; see open_backend.
using BackendMaker = std::function<std::unique_ptr<Backend>(std::string_view name)>;

// "cpu" or "cuda". threads: of the CPU engine; 0 as OpenMP says. Throws an environment Error where
// there is no device.
std::unique_ptr<Backend> open_backend(std::string_view name, const model::Checkpoint& checkpoint,
                                      int threads);

// Why nothing can run on this backend here ("no device: ..."); empty where it can.
std::string backend_unavailable(std::string_view name);

// "cuda,cpu" -> cpu, cuda: each once, in the order above. Throws a usage Error.
std::vector<std::string> parse_backends(const std::string& text);

}  // namespace kvx::eval
