#include "gpu/cache/kernels.h"

namespace kvx::gpu {

#define KVX_SCHEME(scheme, ...)                                              \
  std::unique_ptr<SchemeKernels> make_##scheme(const Descriptor& descriptor, \
                                               const CacheConfig& config);
#define KVX_SCHEME_CPU(...)
#define KVX_ALIAS(...)
#include "sim/api/schemes.def"
#undef KVX_SCHEME
#undef KVX_ALIAS

std::unique_ptr<SchemeKernels> make_kernels(const Descriptor& descriptor,
                                            const CacheConfig& config) {
#define KVX_SCHEME(scheme, ...) \
  if (descriptor.name() == #scheme) return make_##scheme(descriptor, config);
#define KVX_SCHEME_CPU(...)
#define KVX_ALIAS(...)
#include "sim/api/schemes.def"
#undef KVX_SCHEME
#undef KVX_ALIAS
  return nullptr;
}

}  // namespace kvx::gpu
