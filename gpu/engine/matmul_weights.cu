// Weights in device memory: from the rows of a file to the layout of the kernels, and rows of an
// embedding back.
#include <algorithm>

#include "gpu/common/check.h"
#include "gpu/engine/matmul_device.cuh"

namespace kvx::gpu {
namespace {

constexpr int64_t kUploadBytes = int64_t{64} << 20;
constexpr int kThreads = 256;

int64_t padded(int64_t k) { return ceil_div(k, kWeightPad) * kWeightPad; }
unsigned grid(int64_t threads) { return static_cast<unsigned>(ceil_div(threads, kThreads)); }

// A thread moves one vector of one row.
template <class Element>
__global__ void pack_kernel(const Element* rows, int64_t count, int64_t k, int64_t vectors,
                            uint4* w, int64_t n, int64_t first) {
  constexpr int kWidth = 16 / sizeof(Element);
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t row = i / vectors, vector = i % vectors;
  if (row >= count) return;
  union {
    uint4 whole;
    Element element[kWidth];
  } v;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    const int64_t at = vector * kWidth + j;
    v.element[j] = at < k ? rows[row * k + at] : Element{0};
  }
  w[vector * n + first + row] = v.whole;
}

// A thread gathers one vector of W^T: consecutive rows of W [n][k], one column.
template <class Element>
__global__ void transpose_kernel(const Element* w, int64_t n, int64_t k, int64_t first,
                                 int64_t count, int64_t vectors, uint4* to) {
  constexpr int kWidth = 16 / sizeof(Element);
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t vector = i / k, column = i % k;
  if (vector >= vectors) return;
  union {
    uint4 whole;
    Element element[kWidth];
  } v;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    const int64_t row = vector * kWidth + j;
    v.element[j] = row < count ? w[(column / kWidth * n + first + row) * kWidth + column % kWidth]
                               : Element{0};
  }
  to[i] = v.whole;
}

// A thread widens one vector of one token.
template <WeightType kType>
__global__ void gather_kernel(const uint4* w, int64_t n, int64_t k, int64_t vectors,
                              const int32_t* tokens, int64_t count, float* out) {
  constexpr int kWidth = vector_width(kType);
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t row = i / vectors, vector = i % vectors;
  if (row >= count) return;
  float v[kWidth];
  widen<kType>(w[vector * n + tokens[row]], v);
#pragma unroll
  for (int j = 0; j < kWidth; ++j)
    if (vector * kWidth + j < k) out[row * k + vector * kWidth + j] = v[j];
}

template <WeightType kType>
void gather(const DeviceWeights& w, const int32_t* tokens, int64_t count, float* out,
            cudaStream_t stream) {
  const int64_t vectors = ceil_div(w.k(), vector_width(kType));
  gather_kernel<kType><<<grid(count * vectors), kThreads, 0, stream>>>(
      reinterpret_cast<const uint4*>(w.data()), w.n(), w.k(), vectors, tokens, count, out);
  check_launch("gather_kernel");
}

}  // namespace

DeviceWeights::DeviceWeights(int64_t n, int64_t k, WeightType type)
    : n_(n), k_(k), type_(type), data_(bytes(n, k, type)) {}

int64_t DeviceWeights::bytes(int64_t n, int64_t k, WeightType type) {
  return n * padded(k) * element_bytes(type);
}

void DeviceWeights::set_rows(int64_t first, int64_t count, const void* rows) {
  const int64_t row_bytes = k_ * element_bytes(type_);
  const int64_t vectors = padded(k_) / vector_width(type_);
  const int64_t at_once =
      std::clamp<int64_t>(kUploadBytes / row_bytes, 1, std::max(count, int64_t{1}));
  DeviceArray<std::byte> upload(at_once * row_bytes);
  uint4* const w = reinterpret_cast<uint4*>(data_.get());
  for (int64_t done = 0; done < count; done += at_once) {
    const int64_t some = std::min(at_once, count - done);
    upload.upload({static_cast<const std::byte*>(rows) + done * row_bytes,
                   static_cast<size_t>(some * row_bytes)});
    if (type_ == WeightType::kF32) {
      pack_kernel<<<grid(some * vectors), kThreads>>>(
          reinterpret_cast<const uint32_t*>(upload.get()), some, k_, vectors, w, n_, first + done);
    } else {
      pack_kernel<<<grid(some * vectors), kThreads>>>(
          reinterpret_cast<const uint16_t*>(upload.get()), some, k_, vectors, w, n_, first + done);
    }
    check_launch("pack_kernel");
    check(cudaStreamSynchronize(nullptr), "upload of weights");
  }
}

DeviceWeights DeviceWeights::transposed(int64_t first, int64_t count) const {
  DeviceWeights result(k_, count, type_);
  const int64_t vectors = padded(count) / vector_width(type_);
  uint4* const to = reinterpret_cast<uint4*>(result.data_.get());
  if (type_ == WeightType::kF32) {
    transpose_kernel<<<grid(k_ * vectors), kThreads>>>(
        reinterpret_cast<const uint32_t*>(data_.get()), n_, k_, first, count, vectors, to);
  } else {
    transpose_kernel<<<grid(k_ * vectors), kThreads>>>(
        reinterpret_cast<const uint16_t*>(data_.get()), n_, k_, first, count, vectors, to);
  }
  check_launch("transpose_kernel");
  check(cudaStreamSynchronize(nullptr), "transposed weights");
  return result;
}

void gather_rows(const DeviceWeights& w, const int32_t* tokens, int64_t count, float* out,
                 cudaStream_t stream) {
  if (count == 0) return;
  switch (w.type()) {
    case WeightType::kF32:
      return gather<WeightType::kF32>(w, tokens, count, out, stream);
    case WeightType::kF16:
      return gather<WeightType::kF16>(w, tokens, count, out, stream);
    case WeightType::kBf16:
      return gather<WeightType::kBf16>(w, tokens, count, out, stream);
  }
}

}  // namespace kvx::gpu
