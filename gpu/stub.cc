#include "gpu/registry.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

[[noreturn]] void absent() { throw environment_error(unavailable()); }

}  // namespace

class DeviceModel {};

bool built() { return false; }
std::string unavailable() { return "this program was built without CUDA"; }
bool has_kernel(std::string_view) { return false; }
std::string device_report() { return "built without CUDA"; }
std::unique_ptr<LayerCache> make_cache(const Descriptor&, const CacheConfig&) { absent(); }
std::shared_ptr<const DeviceModel> load_model(const model::Checkpoint&) { absent(); }
std::unique_ptr<model::Transformer> make_engine(std::shared_ptr<const DeviceModel>,
                                                const Descriptor&, const EngineSettings&) {
  absent();
}
std::unique_ptr<model::LossGradient> make_loss_gradient(std::shared_ptr<const DeviceModel>,
                                                        int64_t) {
  absent();
}

}  // namespace kvx::gpu
