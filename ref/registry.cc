#include "ref/registry.h"

#include <stdexcept>

namespace kvx::ref {

#define KVX_SCHEME(name, ...) \
  std::unique_ptr<LayerCache> make_##name(const Descriptor& descriptor, const CacheConfig& config);
#define KVX_ALIAS(...)
#include "sim/api/schemes.def"
#undef KVX_SCHEME
#undef KVX_ALIAS

std::unique_ptr<LayerCache> make_cache(const Descriptor& descriptor, const CacheConfig& config) {
#define KVX_SCHEME(name, ...) \
  if (descriptor.name() == #name) return make_##name(descriptor, config);
#define KVX_ALIAS(...)
#include "sim/api/schemes.def"
#undef KVX_SCHEME
#undef KVX_ALIAS
  throw std::logic_error("scheme in the schema but not in the registry");
}

CacheFactory factory(const Descriptor& descriptor) {
  return [descriptor](const CacheConfig& config) { return make_cache(descriptor, config); };
}

}  // namespace kvx::ref
