#include "gpu/common/check.h"
#include "gpu/common/lane_sum.cuh"
#include "gpu/gradient/backward_ops.h"

namespace kvx::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kProducts = 1024;  // binary64 products that wait for their turn

unsigned blocks(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

// A block has one row, a thread one lane of its sums.
__global__ void loss_backward_kernel(const __grid_constant__ LossRows args) {
  __shared__ float lanes[kLanes];
  __shared__ double wide_lanes[kLanes];
  const int64_t row = blockIdx.x;
  float* const z = args.logits + row * args.stride;
  const int64_t next = args.next[row];
  const float z_next = z[next];

  float greatest = __uint_as_float(0xFF800000u);
#pragma unroll 8
  for (int64_t v = threadIdx.x; v < args.vocab; v += kLanes) greatest = max_nan(greatest, z[v]);
  greatest = block_max(greatest, lanes);

  float a = 0.0f;
  double wide = 0.0;
#pragma unroll 8
  for (int64_t v = threadIdx.x; v < args.vocab; v += kLanes) {
    const float e = exp_ieee(__fsub_rn(z[v], greatest));
    z[v] = e;
    a = __fadd_rn(a, e);
    wide = __dadd_rn(wide, static_cast<double>(e));
  }
  const float sum = block_sum(a, lanes);
  const double wide_sum = block_sum(wide, wide_lanes);

#pragma unroll 8
  for (int64_t v = threadIdx.x; v < args.vocab; v += kLanes) {
    const float p = __fdiv_rn(z[v], sum);
    z[v] = __fmul_rn(v == next ? __fsub_rn(p, 1.0f) : p, args.scale);
  }
  if (threadIdx.x != 0) return;
  const double lse = __dadd_rn(log64_ieee(wide_sum), static_cast<double>(greatest));
  args.nll[row] = __dsub_rn(lse, static_cast<double>(z_next));
}

// A block has one run of values, a thread one lane of the sum of squares; the first thread adds the
// products of the other sum one by one.
__global__ void norm_backward_kernel(const __grid_constant__ NormBackward args) {
  __shared__ float lanes[kLanes];
  __shared__ double products[kProducts];
  __shared__ float shared_along;
  const int64_t item = blockIdx.x, row = item / args.groups, group = item % args.groups;
  const float* const x = args.x + row * args.x_stride + group * args.width;
  const float* const dy = args.dy + item * args.width;
  const int thread = static_cast<int>(threadIdx.x);

  float a = 0.0f;
#pragma unroll 4
  for (int64_t i = thread; i < args.width; i += kLanes) a = __fmaf_rn(x[i], x[i], a);
  const float r = norm_factor(block_sum(a, lanes), args.width, args.eps);

  double dot = 0.0;
  for (int64_t first = 0; first < args.width; first += kProducts) {
    const int count = static_cast<int>(min(args.width - first, int64_t{kProducts}));
    __syncthreads();
    for (int i = thread; i < count; i += kLanes) {
      const float u = __fmul_rn(args.weight[first + i], dy[first + i]);
      products[i] = __dmul_rn(static_cast<double>(u), static_cast<double>(x[first + i]));
    }
    __syncthreads();
    if (thread != 0) continue;
#pragma unroll 16
    for (int i = 0; i < count; ++i) dot = __dadd_rn(dot, products[i]);
  }
  if (thread == 0) {
    const float turned = __fmul_rn(__fmul_rn(__double2float_rn(dot), r), r);
    shared_along = __fdiv_rn(turned, static_cast<float>(args.width));
  }
  __syncthreads();
  const float along = shared_along;
  float* const dx = args.dx + item * args.width;
  for (int64_t i = thread; i < args.width; i += kLanes) {
    const float u = __fmul_rn(args.weight[i], dy[i]);
    const float d = __fmul_rn(r, __fsub_rn(u, __fmul_rn(x[i], along)));
    dx[i] = args.residual == nullptr ? d : __fadd_rn(args.residual[item * args.width + i], d);
  }
}

__global__ void swiglu_backward_kernel(float* gate_up, const float* t, int64_t rows,
                                       int64_t width) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= rows * width) return;
  float* const gate = gate_up + at / width * 2 * width + at % width;
  float* const up = gate + width;
  const float g = *gate;
  const float s = __fdiv_rn(1.0f, __fadd_rn(1.0f, exp_ieee(-g)));
  const float y = __fmul_rn(g, s);
  const float slope = __fmul_rn(s, __fadd_rn(1.0f, __fmul_rn(g, __fsub_rn(1.0f, s))));
  const float d = t[at];
  *gate = __fmul_rn(__fmul_rn(d, *up), slope);
  *up = __fmul_rn(d, y);
}

// A thread turns one pair.
__global__ void unrotate_kernel(const float* x, float* y, const float2* rotary, int64_t pairs,
                                int heads, int half) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= pairs) return;
  const int64_t head = at / half;
  const int i = static_cast<int>(at % half);
  const float2 turn = rotary[head / heads * half + i];
  const float a = x[head * 2 * half + i], b = x[head * 2 * half + half + i];
  y[head * 2 * half + i] = __fmaf_rn(a, turn.y, -__fmul_rn(b, -turn.x));
  y[head * 2 * half + half + i] = __fmaf_rn(b, turn.y, __fmul_rn(a, -turn.x));
}

__global__ void sum_groups_kernel(const float* from, float* to, int64_t rows, int group,
                                  int64_t width, int dim) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= rows * width) return;
  const int64_t row = at / width, head = at % width / dim * group;
  const float* x = from + (head * rows + row) * dim + at % dim;
  float y = *x;
  for (int i = 1; i < group; ++i) y = __fadd_rn(y, x[i * rows * dim]);
  to[at] = y;
}

}  // namespace

void loss_backward(const LossRows& args, cudaStream_t stream) {
  if (args.rows == 0) return;
  loss_backward_kernel<<<static_cast<unsigned>(args.rows), kLanes, 0, stream>>>(args);
  check_launch("loss_backward");
}

void norm_backward(const NormBackward& args, cudaStream_t stream) {
  const int64_t items = args.rows * args.groups;
  if (items == 0) return;
  norm_backward_kernel<<<static_cast<unsigned>(items), kLanes, 0, stream>>>(args);
  check_launch("norm_backward");
}

void swiglu_backward(float* gate_up, const float* t, int64_t rows, int64_t width,
                     cudaStream_t stream) {
  if (rows == 0 || width == 0) return;
  swiglu_backward_kernel<<<blocks(rows * width), kThreads, 0, stream>>>(gate_up, t, rows, width);
  check_launch("swiglu_backward");
}

void unrotate(const float* x, float* y, const float2* rotary, int64_t rows, int32_t heads,
              int32_t dim, cudaStream_t stream) {
  const int64_t pairs = rows * heads * (dim / 2);
  if (pairs == 0) return;
  unrotate_kernel<<<blocks(pairs), kThreads, 0, stream>>>(x, y, rotary, pairs, heads, dim / 2);
  check_launch("unrotate");
}

void sum_groups(const float* from, float* to, int64_t rows, int32_t heads, int32_t kv_heads,
                int32_t dim, cudaStream_t stream) {
  const int64_t width = int64_t{kv_heads} * dim;
  if (rows == 0) return;
  sum_groups_kernel<<<blocks(rows * width), kThreads, 0, stream>>>(from, to, rows, heads / kv_heads,
                                                                   width, dim);
  check_launch("sum_groups");
}

}  // namespace kvx::gpu
