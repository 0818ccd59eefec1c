// Times of work on the device: calls captured in one CUDA graph, replayed between two events.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "gpu/common/stream.h"

namespace kvx::gpu {

struct GraphTimes {
  std::vector<double> seconds;  // of one call, by sample
  int64_t calls = 0;            // in the graph
};

// Enqueues call i = 0, 1, ... on a stream, nothing else.
using Enqueue = std::function<void(int64_t call, cudaStream_t stream)>;

// Calls 0 .. buffers - 1 run once by themselves (kernels are loaded then), then as a graph of whole
// rounds over the buffers: at least 20 calls and a millisecond, unless a round alone takes longer
// than a tenth of a second. The graph is replayed for half a second before the first sample.
GraphTimes time_graph(const Enqueue& enqueue, int64_t buffers, int samples, cudaStream_t stream);

// The clock of the processors just now, in MHz, against the device's own nanoseconds.
double processor_clock_mhz(cudaStream_t stream);

}  // namespace kvx::gpu
