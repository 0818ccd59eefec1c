// Keeps what the next pass may still need exactly: the newest rows of a pass, rounded to binary16,
// in the ring of each sequence.
#pragma once

#include "gpu/cache/kernels.h"

namespace kvx::gpu {

void settle(const AppendArgs& args, cudaStream_t stream);

}  // namespace kvx::gpu
