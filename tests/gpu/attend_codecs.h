// Codecs that tests of attention read a cache with.
#pragma once

#include "gpu/cache/attend.h"

namespace kvx::test {

enum class TestCodec {
  kHalf,    // codes are binary16 patterns
  kScaled,  // (code - zero) * scale: binary16 scale, zero of one byte
};

void attend_with(TestCodec codec, gpu::AttendForm form, const gpu::AttendArgs& args);
// In the form that is chosen.
void attend_with(TestCodec codec, const gpu::AttendArgs& args);

}  // namespace kvx::test
