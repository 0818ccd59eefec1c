// The input is a descriptor, sweeps included: what parses is canonical, and makes a cache or is
// refused.
#include "sim/api/descriptor.h"

#include <stdexcept>

#include "ref/registry.h"
#include "sim/api/error.h"
#include "tests/fuzz/folder.h"

namespace {

void require(bool condition, const std::string& what) {
  if (!condition) throw std::logic_error(what);
}

void use(const std::string& text) {
  const auto descriptor = kvx::Descriptor::parse(text);
  require(kvx::Descriptor::parse(descriptor.str()) == descriptor, "str: " + descriptor.str());
  require(kvx::Descriptor::parse(descriptor.versioned()) == descriptor,
          "versioned: " + descriptor.versioned());
  kvx::ref::make_cache(descriptor, {.shape = {.layer = 0, .kv_heads = 2, .head_dim = 64}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    int left = 16;
    for (const std::string& text : kvx::expand_sweep(kvx::fuzz::text(data, size))) {
      if (--left < 0) break;
      try {
        use(text);
      } catch (const kvx::Error&) {
      }
    }
  } catch (const kvx::Error&) {
  }
  return 0;
}
