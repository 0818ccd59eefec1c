// Owners of streams and events of the current device.
#pragma once

#include <cuda_runtime.h>

#include "gpu/common/check.h"

namespace kvx::gpu {

// A stream that waits for the default stream and is waited for by it.
class Stream {
 public:
  Stream() { check(cudaStreamCreate(&stream_), "stream"); }
  ~Stream() {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  operator cudaStream_t() const { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_), "work on the device"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "event"); }
  // What follows on the stream comes after what was recorded.
  void before(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_, 0), "event"); }
  void wait() const { check(cudaEventSynchronize(event_), "work on the device"); }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace kvx::gpu
