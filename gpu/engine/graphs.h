// Work captured once and launched many times: the steps of decoding.
#pragma once

#include <cuda_runtime.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>

namespace kvx::gpu {

enum class StepKind : uint8_t { kLogits, kGreedy };

// What decides the launches of a step.
struct StepShape {
  StepKind kind = StepKind::kLogits;
  int32_t batch = 0;
  int32_t max_length = 0;  // bound of the sequences' lengths
  auto operator<=>(const StepShape&) const = default;
};

class StepGraphs {
 public:
  // Enqueues the work of a step of that shape, which must be the same work each time: directly the
  // first time (kernels are loaded then), as a graph from the second on.
  void run(const StepShape& shape, cudaStream_t stream, const std::function<void()>& enqueue);

  // Forgets everything: memory that the work uses has moved. Nothing may be running.
  void clear();

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using Graph = std::unique_ptr<CUgraphExec_st, Destroy>;

  std::set<StepShape> seen_;
  std::map<StepShape, Graph> graphs_;
};

}  // namespace kvx::gpu
