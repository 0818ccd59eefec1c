#include "ref/registry.h"

#include <stdexcept>

#include "sim/api/error.h"

namespace kvx::ref {

#define KVX_SCHEME(scheme, ...)                                            \
  std::unique_ptr<StoredCache> make_##scheme(const Descriptor& descriptor, \
                                             const CacheConfig& config);
#define KVX_ALIAS(...)
#include "sim/api/schemes.def"
#undef KVX_SCHEME
#undef KVX_ALIAS

std::unique_ptr<StoredCache> make_cache(const Descriptor& descriptor, const CacheConfig& config) {
#define KVX_SCHEME(scheme, ...) \
  if (descriptor.name() == #scheme) return make_##scheme(descriptor, config);
#define KVX_ALIAS(...)
#include "sim/api/schemes.def"
#undef KVX_SCHEME
#undef KVX_ALIAS
  throw std::logic_error("scheme in the schema but not in the registry");
}

std::unique_ptr<Calibrator> make_fp8_calibrator(const Descriptor& descriptor);
std::unique_ptr<Calibrator> make_kvquant_calibrator(const Descriptor& descriptor);

std::unique_ptr<Calibrator> make_calibrator(const Descriptor& descriptor) {
  if (descriptor.name() == "fp8") return make_fp8_calibrator(descriptor);
  if (descriptor.name() == "kvquant") return make_kvquant_calibrator(descriptor);
  throw usage_error("scheme " + std::string(descriptor.name()) + " needs no calibration");
}

StoredCacheFactory factory(const Descriptor& descriptor, const Artifacts& artifacts) {
  return [descriptor, artifacts](const CacheConfig& config) {
    CacheConfig with = config;
    if (artifacts) with.artifacts = artifacts;
    return make_cache(descriptor, with);
  };
}

}  // namespace kvx::ref
