// Dense steps of a pass over rows of activations: matrix products, norms, sums. Each output is
// independent, so the bits do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "sim/model/parallel.h"
#include "sim/num/gemm.h"
#include "sim/num/reduce.h"

namespace kvx::model {

struct Dense {
  int threads = 1;
  num::PackedInput packed;

  // packed = the `count` rows of `width` floats.
  void pack(const float* rows, int64_t count, int64_t width) {
    packed.reshape(count, width);
    parallel_for(threads, packed.tiles(), [&](int64_t t) { packed.set_tile(t, rows, width); });
  }

  // y [rows][w.n] = packed * w^T.
  void multiply(const num::PackedWeights& w, float* y) const {
    constexpr int64_t kWorthSharing = int64_t{1} << 18;  // products: some microseconds
    const int team = packed.m() * w.n() * w.k() < kWorthSharing ? 1 : threads;
    const num::Gemm gemm(packed, w, y, w.n(), team);
    parallel_for(team, gemm.tasks(), [&](int64_t task) { gemm.run(task); });
  }

  // y [rows][w.n] = packed * w^T + bias; an empty bias adds nothing.
  void project(const num::PackedWeights& w, std::span<const float> bias, float* y) const {
    multiply(w, y);
    if (bias.empty()) return;
    const int64_t width = w.n();
    parallel_for(threads, packed.m(), [&](int64_t i) {
      for (int64_t j = 0; j < width; ++j)
        y[i * width + j] = y[i * width + j] + bias[static_cast<size_t>(j)];
    });
  }

  // RMSNorm of `count` rows of weight.size() floats; y may be rows.
  void norm(const float* rows, int64_t count, std::span<const float> weight, float eps,
            float* y) const {
    const size_t width = weight.size();
    parallel_for(threads, count, [&](int64_t i) {
      num::rms_norm({rows + i * static_cast<int64_t>(width), width}, weight, eps,
                    {y + i * static_cast<int64_t>(width), width});
    });
  }

  // to += from, `count` rows of `width`.
  void add(float* to, const float* from, int64_t count, int64_t width) const {
    parallel_for(threads, count, [&](int64_t i) {
      for (int64_t j = i * width; j < (i + 1) * width; ++j) to[j] = to[j] + from[j];
    });
  }
};

}  // namespace kvx::model
