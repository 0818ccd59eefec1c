#include "gpu/engine/graphs.h"

#include "gpu/common/check.h"

namespace kvx::gpu {
namespace {

constexpr size_t kMostGraphs = 32;

// What `enqueue` puts on the stream, in place of running it.
cudaGraph_t capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "capture");
  return graph;
}

}  // namespace

void StepGraphs::run(const StepShape& shape, cudaStream_t stream,
                     const std::function<void()>& enqueue) {
  auto found = graphs_.find(shape);
  if (found == graphs_.end()) {
    if (seen_.insert(shape).second) {
      enqueue();
      return;
    }
    if (graphs_.size() >= kMostGraphs) {
      check(cudaStreamSynchronize(stream), "graph of a decode step");
      graphs_.clear();
    }
    cudaGraph_t graph = capture(stream, enqueue);
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "graph of a decode step");
    found = graphs_.emplace(shape, Graph(executable)).first;
  }
  check(cudaGraphLaunch(found->second.get(), stream), "graph of a decode step");
}

void StepGraphs::clear() {
  graphs_.clear();
  seen_.clear();
}

}  // namespace kvx::gpu
