// Cases of the kernel of one_shape.cc; passes where the planted bug is seen: by an output that
// differs from the definition, or by the device.
#include <cstdio>
#include <stdexcept>
#include <string>

#include "tests/gpu/fused_case.h"

namespace {

using namespace kvx::test;
using kvx::gpu::fused::FusedForm;

std::string difference(const FusedSpec& spec, uint64_t seed) {
  const FusedCase one(spec, seed);
  for (const FusedForm form : {FusedForm::kLong, FusedForm::kWhole, FusedForm::kShort}) {
    bool fences = false;
    try {
      const std::string text = one.compare(one.run(form, &fences), 8);
      if (!text.empty()) return text;
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    if (!fences) return "written outside";
  }
  return {};
}

}  // namespace

int main() {
  for (const FixedRange range : {FixedRange::kPlain, FixedRange::kExtreme, FixedRange::kClamped})
    for (uint64_t seed = 0; seed < 2; ++seed) {
      FusedSpec spec;
      spec.side[0] = {.bits = 2, .group = 128, .along_tokens = true, .rule = {128, 0, 1}};
      spec.side[1] = {.bits = 2, .group = 128, .rule = {1, 32, 1}};
      spec.range = range;
      spec.spans = {{9300, 1}, {1151, 1}};
      if (seed % 2 == 1) {  // no exact rows, an end within a tile
        spec.side[0] = FusedSide{};
        spec.side[1] = FusedSide{};
      }
      const std::string text = difference(spec, seed);
      if (text.empty()) continue;
      std::printf("seen in %s\n%s\n", spec.name().c_str(), text.c_str());
      return 0;
    }
  std::printf("not seen\n");
  return 1;
}
