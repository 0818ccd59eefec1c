#include "gpu/common/check.h"
#include "gpu/common/ieee.cuh"
#include "gpu/common/lane_sum.cuh"
#include "gpu/common/successor.cuh"
#include "gpu/engine/elementwise.h"

namespace kvx::gpu {
namespace {

constexpr int kMaxDim = 256;
constexpr int kHeadWarps = 4;  // heads of a block

unsigned blocks(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

// One block of kLanes threads a row, a thread one lane. The first values of a lane stay in
// registers, so that all are on their way at once.
__global__ void rms_norm_kernel(const __grid_constant__ NormArgs args) {
  constexpr int kHeld = 32;
  __shared__ float lanes[kLanes];
  wait_for_predecessors();
  let_successor_begin();
  const int64_t i = blockIdx.x;
  const int64_t row = args.pick != nullptr ? args.pick[args.first + i] : args.first + i;
  const int64_t left = args.width - threadIdx.x;  // of the row, from this lane on
  const float* x = args.x + row * args.width + threadIdx.x;
  const float* weight = args.weight + threadIdx.x;
  float* y = args.y + i * args.width + threadIdx.x;
  float held[kHeld];
#pragma unroll
  for (int m = 0; m < kHeld; ++m) held[m] = m * kLanes < left ? x[m * kLanes] : 0.0f;
  float a = 0.0f;
#pragma unroll
  for (int m = 0; m < kHeld; ++m) a = __fmaf_rn(held[m], held[m], a);
#pragma unroll 8
  for (int64_t j = kHeld * kLanes; j < left; j += kLanes) a = __fmaf_rn(x[j], x[j], a);
  lanes[threadIdx.x] = a;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  const float four[4] = {lanes[lane], lanes[lane + 32], lanes[lane + 64], lanes[lane + 96]};
  const float r = norm_factor(tree(four), args.width, args.eps);
#pragma unroll
  for (int m = 0; m < kHeld; ++m) {
    if (m * kLanes < left) y[m * kLanes] = __fmul_rn(__fmul_rn(held[m], r), weight[m * kLanes]);
  }
#pragma unroll 8
  for (int64_t j = kHeld * kLanes; j < left; j += kLanes)
    y[j] = __fmul_rn(__fmul_rn(x[j], r), weight[j]);
}

__global__ void rotary_table_kernel(const PassSpan* spans, int32_t span_count, int64_t rows,
                                    const uint64_t* steps, int32_t pairs, float2* table) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= rows * pairs) return;
  const int64_t row = at / pairs;
  int32_t low = 0, high = span_count - 1;  // the last span that starts at the row or before
  while (low < high) {
    const int32_t middle = (low + high + 1) / 2;
    if (spans[middle].row <= row) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const uint64_t position = static_cast<uint64_t>(spans[low].first + (row - spans[low].row));
  float2 turn;
  sincos_phase(static_cast<uint32_t>(position * steps[at % pairs] >> 32), turn.x, turn.y);
  table[at] = turn;
}

// One warp a head of a row.
__global__ void split_heads_kernel(HeadArgs args) {
  __shared__ float shared[kHeadWarps][kMaxDim];
  wait_for_predecessors();
  let_successor_begin();
  const int lane = threadIdx.x % 32;
  float* x = shared[threadIdx.x / 32];
  const int all = args.heads + 2 * args.kv_heads;
  const int64_t item = int64_t{blockIdx.x} * kHeadWarps + threadIdx.x / 32;
  if (item >= args.rows * all) return;
  const int64_t row = item / all;
  const int head = static_cast<int>(item % all);
  const int dim = args.dim;
  const float* from = args.qkv + item * dim;
  const bool is_q = head < args.heads;
  const bool is_v = head >= args.heads + args.kv_heads;
  const int kv_head = is_v ? head - args.heads - args.kv_heads : head - args.heads;
  const int64_t kv_at = (row * args.kv_heads + kv_head) * dim;
  const int64_t at = is_q ? (row * args.heads + head) * dim : kv_at;
  const auto watch = [&](int channel, float value) {
    if (is_q || args.note == nullptr || stays_finite(value, args.input)) return;
    const int64_t first = is_v ? args.rows * args.kv_heads * dim : 0;
    atomicMin(args.note,
              static_cast<NonFiniteNote>(first + kv_at + channel) << 32 | __float_as_uint(value));
  };
  if (is_v) {
    for (int c = lane; c < dim; c += 32) {
      args.v[at + c] = from[c];
      watch(c, from[c]);
    }
    return;
  }

  const float* weight = is_q ? args.q_norm : args.k_norm;
  if (weight == nullptr) {
    for (int c = lane; c < dim; c += 32) x[c] = from[c];
  } else {
    float a[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int m = 0; m < kMaxDim / 32; ++m) {
      const int c = lane + 32 * m;
      if (c < dim) a[m % 4] = __fmaf_rn(from[c], from[c], a[m % 4]);
    }
    const float r = norm_factor(tree(a), dim, args.eps);
    for (int c = lane; c < dim; c += 32) x[c] = __fmul_rn(__fmul_rn(from[c], r), weight[c]);
  }
  __syncwarp();
  if (float* const pre = is_q ? args.q_pre : args.k_pre; pre != nullptr) {
    for (int c = lane; c < dim; c += 32) pre[at + c] = x[c];
  }
  if (args.stores_unrotated) {
    for (int c = lane; c < dim; c += 32) watch(c, x[c]);
  }
  float* out = (is_q ? args.q : args.k) + at;
  const int half = dim / 2;
  for (int c = lane; c < half; c += 32) {
    const float2 turn = args.rotary[row * half + c];
    const float a = x[c], b = x[c + half];
    const float first = __fmaf_rn(a, turn.y, -__fmul_rn(b, turn.x));
    const float second = __fmaf_rn(b, turn.y, __fmul_rn(a, turn.x));
    out[c] = first;
    out[c + half] = second;
    if (args.stores_unrotated) continue;
    watch(c, first);
    watch(c + half, second);
  }
}

__global__ void swiglu_kernel(float* gate_up, int64_t width) {
  wait_for_predecessors();
  let_successor_begin();
  const int64_t j = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (j >= width) return;
  float* row = gate_up + int64_t{blockIdx.x} * 2 * width;
  row[j] = __fmul_rn(silu_ieee(row[j]), row[width + j]);
}

// Greater value first, then lower index.
__device__ Choice choice_of(float x, int64_t index) {
  if (is_nan(x)) return 0;
  const uint32_t bits = __float_as_uint(__fadd_rn(x, 0.0f));
  const uint32_t order = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<Choice>(order) << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(index));
}

constexpr int kChoiceThreads = 256;
constexpr int kChoiceLogits = 4096;  // of a block

__global__ void choose_greatest_kernel(const float* logits, int64_t vocab, Choice* choices) {
  __shared__ Choice warps[kChoiceThreads / 32];
  const float* row = logits + int64_t{blockIdx.x} * vocab;
  const int64_t first = int64_t{blockIdx.y} * kChoiceLogits;
  Choice best = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < kChoiceLogits; i += kChoiceThreads)
    if (first + i < vocab) best = max(best, choice_of(row[first + i], first + i));
  for (int h = 16; h >= 1; h /= 2) best = max(best, __shfl_xor_sync(~0u, best, h));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kChoiceThreads / 32; ++w) best = max(best, warps[w]);
  if (best != 0) atomicMax(choices + blockIdx.x, best);
}

__global__ void end_greedy_step_kernel(StepArgs args) {
  __shared__ int layer;
  if (threadIdx.x == 0) layer = args.layers;
  __syncthreads();
  const int step = args.state->step;
  for (int i = threadIdx.x; i < args.count; i += blockDim.x) {
    const int32_t id = chosen_id(args.choices[i]);
    args.choices[i] = 0;
    args.ids[int64_t{step} * args.count + i] = id;
    args.tokens[i] = max(id, 0);
    args.spans[i].first += 1;
  }
  for (int i = threadIdx.x; i < args.layers; i += blockDim.x)
    if (args.notes[i] != kNothingNoted) atomicMin(&layer, i);
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (layer < args.layers && args.state->failed_step < 0) {
    args.state->failed_step = step;
    args.state->failed_layer = layer;
    args.state->note = args.notes[layer];
  }
  args.state->step = step + 1;
}

}  // namespace

void rms_norm(const NormArgs& args, cudaStream_t stream) {
  if (args.count == 0) return;
  launch_successor("rms_norm", rms_norm_kernel,
                   {.grid = blocks(args.count, 1),
                    .block = kLanes,
                    .stream = stream,
                    .early = args.follows_kernel},
                   args);
}

void rotary_table(const Pass& pass, const uint64_t* steps, int32_t pairs, float2* table,
                  cudaStream_t stream) {
  if (pass.rows == 0) return;
  rotary_table_kernel<<<blocks(int64_t{pass.rows} * pairs, 128), 128, 0, stream>>>(
      pass.spans, pass.span_count, pass.rows, steps, pairs, table);
  check_launch("rotary_table");
}

void split_heads(const HeadArgs& args, cudaStream_t stream) {
  const int64_t items = args.rows * (args.heads + 2 * args.kv_heads);
  if (items == 0) return;
  launch_successor("split_heads", split_heads_kernel,
                   {.grid = blocks(items, kHeadWarps), .block = 32 * kHeadWarps, .stream = stream},
                   args);
}

void swiglu(float* gate_up, int64_t rows, int64_t width, cudaStream_t stream) {
  if (rows == 0 || width == 0) return;
  const dim3 grid(static_cast<unsigned>(rows), blocks(width, 256));
  launch_successor("swiglu", swiglu_kernel, {.grid = grid, .block = 256, .stream = stream}, gate_up,
                   width);
}

void choose_greatest(const float* logits, int64_t rows, int64_t vocab, Choice* choices,
                     cudaStream_t stream) {
  if (rows == 0) return;
  const dim3 grid(static_cast<unsigned>(rows), blocks(vocab, kChoiceLogits));
  choose_greatest_kernel<<<grid, kChoiceThreads, 0, stream>>>(logits, vocab, choices);
  check_launch("choose_greatest");
}

void end_greedy_step(const StepArgs& args, cudaStream_t stream) {
  end_greedy_step_kernel<<<1, 128, 0, stream>>>(args);
  check_launch("end_greedy_step");
}

}  // namespace kvx::gpu
