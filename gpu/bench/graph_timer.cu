#include <algorithm>
#include <chrono>
#include <memory>

#include "gpu/bench/graph_timer.h"
#include "gpu/common/check.h"
#include "gpu/common/memory.h"

namespace kvx::gpu {
namespace {

constexpr int64_t kFewestCalls = 20, kMostCalls = 8192;
constexpr double kShortestGraph = 1e-3, kLongestGraph = 0.1, kWarm = 0.5;  // seconds

class TimingEvent {
 public:
  TimingEvent() { check(cudaEventCreate(&event_), "event"); }
  ~TimingEvent() { cudaEventDestroy(event_); }
  TimingEvent(const TimingEvent&) = delete;
  TimingEvent& operator=(const TimingEvent&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

struct DestroyGraph {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
using Graph = std::unique_ptr<CUgraphExec_st, DestroyGraph>;

Graph capture(const Enqueue& enqueue, int64_t calls, cudaStream_t stream) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  cudaGraph_t graph = nullptr;
  try {
    for (int64_t i = 0; i < calls; ++i) enqueue(i, stream);
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "capture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "graph of timed calls");
  return Graph(executable);
}

// Seconds of `work` between two events.
template <class Work>
double seconds_of(const Work& work, cudaStream_t stream) {
  const TimingEvent begin, end;
  check(cudaEventRecord(begin, stream), "event");
  work();
  check(cudaEventRecord(end, stream), "event");
  check(cudaEventSynchronize(end), "timed work");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
  return 1e-3 * static_cast<double>(milliseconds);
}

// Whole rounds over the buffers for calls of so many seconds.
int64_t calls_for(double seconds, int64_t buffers) {
  const auto round_up = [&](double calls) {
    const auto rounds = static_cast<int64_t>(calls) / buffers + 1;
    return std::clamp(rounds * buffers, buffers, std::max(buffers, kMostCalls / buffers * buffers));
  };
  const double enough = std::max(static_cast<double>(kFewestCalls) - 1, kShortestGraph / seconds);
  const double most = kLongestGraph / seconds;
  return most < static_cast<double>(buffers) ? buffers : round_up(std::min(enough, most));
}

__global__ void clock_kernel(uint64_t nanoseconds, uint64_t* out) {
  const auto now = [] {
    uint64_t t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
  };
  const uint64_t begin = now();
  const int64_t cycle = clock64();
  uint64_t end = begin;
  while (end - begin < nanoseconds) end = now();
  out[0] = static_cast<uint64_t>(clock64() - cycle);
  out[1] = end - begin;
}

}  // namespace

GraphTimes time_graph(const Enqueue& enqueue, int64_t buffers, int samples, cudaStream_t stream) {
  using Clock = std::chrono::steady_clock;
  const auto round = [&] {
    for (int64_t i = 0; i < buffers; ++i) enqueue(i, stream);
  };
  seconds_of(round, stream);
  const double seconds = seconds_of(round, stream) / static_cast<double>(buffers);
  GraphTimes times;
  times.calls = calls_for(std::max(seconds, 1e-7), buffers);
  const Graph graph = capture(enqueue, times.calls, stream);
  const auto replay = [&] { check(cudaGraphLaunch(graph.get(), stream), "graph of timed calls"); };
  const Clock::time_point begin = Clock::now();
  do {
    seconds_of(replay, stream);
  } while (Clock::now() - begin < std::chrono::duration<double>(kWarm));
  for (int i = 0; i < samples; ++i)
    times.seconds.push_back(seconds_of(replay, stream) / static_cast<double>(times.calls));
  return times;
}

double processor_clock_mhz(cudaStream_t stream) {
  DeviceArray<uint64_t> out(2);
  clock_kernel<<<1, 1, 0, stream>>>(500000, out.get());
  check_launch("clock_kernel");
  uint64_t values[2];
  out.download(values, 0, stream);
  return 1e3 * static_cast<double>(values[0]) / static_cast<double>(values[1]);
}

}  // namespace kvx::gpu
