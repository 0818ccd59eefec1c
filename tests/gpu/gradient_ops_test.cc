// The kernels of the backward pass against the CPU's, bit for bit, on values that no model gives.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/cache/guarded.h"
#include "gpu/gradient/attention_backward.h"
#include "gpu/gradient/backward_ops.h"
#include "gpu/registry.h"
#include "sim/gen/fill.h"
#include "sim/model/backward_attention.h"
#include "sim/model/backward_ops.h"
#include "tests/gpu/engine_pair.h"
#include "tests/gpu/on_device.h"

namespace kvx::gpu {
namespace {

using gen::Fill;
using test::expect_same_bits;

class GradientOps : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

std::vector<float> filled(Fill kind, uint32_t tensor, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  gen::fill(kind, 20240131, tensor, {1, 1}, 0, values);
  return values;
}

// Of finite numbers; sums and products may overflow.
constexpr Fill kKinds[] = {Fill::kNormal,       Fill::kHeavy,      Fill::kZeros,
                           Fill::kF32Subnormal, Fill::kF32Extreme, Fill::kF16Ties};

std::span<const float> part(const std::vector<float>& values, int64_t first, int64_t count) {
  return std::span(values).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
}
std::span<float> part(std::vector<float>& values, int64_t first, int64_t count) {
  return std::span(values).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
}

TEST_F(GradientOps, Norms) {
  constexpr float kEps = 1e-5f;
  constexpr int64_t kRows = 5, kGroups = 3;
  for (const Fill kind : kKinds) {
    for (const int64_t width : {1, 8, 127, 129, 576, 1024, 1025, 2600}) {
      const std::string what =
          std::string(gen::fill_name(kind)) + ", width " + std::to_string(width);
      const int64_t stride = kGroups * width + 5, count = kRows * kGroups * width;
      const auto x = filled(kind, 1, kRows * stride), weight = filled(Fill::kNormal, 2, width);
      const auto dy = filled(kind, 3, count), residual = filled(Fill::kNormal, 4, count);
      std::vector<float> expected(static_cast<size_t>(count)), sum = residual;
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t group = 0; group < kGroups; ++group) {
          const int64_t at = (row * kGroups + group) * width;
          model::rms_norm_backward(part(x, row * stride + group * width, width), weight, kEps,
                                   part(dy, at, width), part(expected, at, width));
        }
      }
      for (size_t i = 0; i < sum.size(); ++i) sum[i] = residual[i] + expected[i];
      const auto device_x = on_device(x), device_weight = on_device(weight);
      const auto device_dy = on_device(dy), device_residual = on_device(residual);
      GuardedFloats out;
      NormBackward args{.x = device_x.get(),
                        .x_stride = stride,
                        .weight = device_weight.get(),
                        .width = width,
                        .eps = kEps,
                        .dy = device_dy.get(),
                        .rows = kRows,
                        .groups = kGroups,
                        .dx = out.prepare(count, nullptr)};
      norm_backward(args, nullptr);
      expect_same_bits(out.collect(what, nullptr).data(), expected.data(), count, width, what);
      // In the place of dy and of the residual.
      std::vector<float> got(static_cast<size_t>(count));
      args.dx = device_dy.get();
      norm_backward(args, nullptr);
      device_dy.download(got);
      expect_same_bits(got.data(), expected.data(), count, width, what + ", in place");
      const auto fresh_dy = on_device(dy);
      args.dy = fresh_dy.get();
      args.dx = device_residual.get();
      args.residual = device_residual.get();
      norm_backward(args, nullptr);
      device_residual.download(got);
      expect_same_bits(got.data(), sum.data(), count, width, what + ", added");
    }
  }
}

TEST_F(GradientOps, Gating) {
  constexpr int64_t kRows = 7;
  for (const Fill kind : kKinds) {
    for (const int64_t width : {4, 96, 1000}) {
      const auto gate_up = filled(kind, 5, kRows * 2 * width), t = filled(kind, 6, kRows * width);
      std::vector<float> expected = gate_up, got(gate_up.size());
      for (int64_t row = 0; row < kRows; ++row)
        model::swiglu_backward(part(expected, row * 2 * width, width),
                               part(expected, row * 2 * width + width, width),
                               part(t, row * width, width));
      const auto device = on_device(gate_up), device_t = on_device(t);
      swiglu_backward(device.get(), device_t.get(), kRows, width, nullptr);
      device.download(got);
      expect_same_bits(got.data(), expected.data(), std::ssize(got), 2 * width,
                       std::string(gen::fill_name(kind)) + ", width " + std::to_string(width));
    }
  }
}

TEST_F(GradientOps, Losses) {
  constexpr int64_t kRows = 6;
  constexpr float kScale = 1.0f / 6.0f;
  for (const Fill kind :
       {Fill::kNormal, Fill::kHeavy, Fill::kZeros, Fill::kF32Extreme, Fill::kNonFinite}) {
    for (const int64_t vocab : {2, 127, 320, 959, 5003}) {
      const std::string what =
          std::string(gen::fill_name(kind)) + ", vocabulary " + std::to_string(vocab);
      const int64_t stride = (vocab + 3) / 4 * 4;
      const auto logits = filled(kind, 7, kRows * stride);
      std::vector<float> expected = logits, got(logits.size());
      std::vector<int32_t> next;
      std::vector<double> nll, device_nll(kRows);
      for (int64_t row = 0; row < kRows; ++row) {
        next.push_back(static_cast<int32_t>(row * 7919 % vocab));
        nll.push_back(
            model::nll_backward(part(expected, row * stride, vocab), next.back(), kScale));
      }
      const auto device = on_device(logits);
      const auto device_next = on_device(next);
      const DeviceArray<double> out(kRows);
      loss_backward({.logits = device.get(),
                     .stride = stride,
                     .vocab = vocab,
                     .rows = kRows,
                     .next = device_next.get(),
                     .scale = kScale,
                     .nll = out.get()},
                    nullptr);
      device.download(got);
      out.download(device_nll);
      expect_same_bits(got.data(), expected.data(), std::ssize(got), stride, what);
      for (size_t row = 0; row < nll.size(); ++row) {
        if (nll[row] != nll[row] && device_nll[row] != device_nll[row]) continue;
        EXPECT_EQ(std::bit_cast<uint64_t>(device_nll[row]), std::bit_cast<uint64_t>(nll[row]))
            << what << ", row " << row;
      }
    }
  }
}

// Queries all at once, or band by band.
TEST_F(GradientOps, Attention) {
  struct Layout {
    int heads, kv_heads, dim;
  };
  for (const auto& [heads, kv_heads, dim] :
       std::vector<Layout>{{4, 2, 16}, {3, 3, 72}, {6, 1, 128}, {1, 1, 256}}) {
    for (const int tokens : {1, 100, 128, 300, 513}) {
      const int64_t q_floats = int64_t{tokens} * heads * dim;
      const int64_t kv_floats = int64_t{tokens} * kv_heads * dim;
      auto q = filled(Fill::kNormal, 8, q_floats), dout = filled(Fill::kHeavy, 9, q_floats);
      auto k = filled(Fill::kHeavy, 10, kv_floats), v = filled(Fill::kNormal, 11, kv_floats);
      std::vector<float> dq(q.size()), dk(k.size()), dv(v.size());
      const auto rows = [&, tokens = tokens, dim = dim](std::vector<float>& x, int of) {
        return dense_rows(x.data(), tokens, of, dim);
      };
      model::AttentionBackward(0).run(rows(q, heads), rows(k, kv_heads), rows(v, kv_heads),
                                      rows(dout, heads), rows(dq, heads), rows(dk, kv_heads),
                                      rows(dv, kv_heads));
      const auto device_q = on_device(q), device_dout = on_device(dout);
      const auto device_k = on_device(k), device_v = on_device(v);
      for (const int32_t band : {128, 384, attention_backward_band(tokens, heads)}) {
        const std::string what = std::to_string(heads) + " heads on " + std::to_string(kv_heads) +
                                 " of " + std::to_string(dim) + ", " + std::to_string(tokens) +
                                 " tokens, bands of " + std::to_string(band);
        GuardedFloats device_dq, dk_heads, dv_heads, scratch, sums[2];
        const AttentionBackward args{
            .q = device_q.get(),
            .dout = device_dout.get(),
            .k = device_k.get(),
            .v = device_v.get(),
            .dq = device_dq.prepare(q_floats, nullptr),
            .dk = dk_heads.prepare(q_floats, nullptr),
            .dv = dv_heads.prepare(q_floats, nullptr),
            .tokens = tokens,
            .heads = heads,
            .kv_heads = kv_heads,
            .dim = dim,
            .scratch = scratch.prepare(attention_backward_floats(tokens, heads, band), nullptr),
            .band = band};
        attention_backward(args, nullptr);
        sum_groups(args.dk, sums[0].prepare(kv_floats, nullptr), tokens, heads, kv_heads, dim,
                   nullptr);
        sum_groups(args.dv, sums[1].prepare(kv_floats, nullptr), tokens, heads, kv_heads, dim,
                   nullptr);
        scratch.check_fences(what, nullptr);
        expect_same_bits(device_dq.collect(what, nullptr).data(), dq.data(), q_floats, dim,
                         what + ", dq");
        expect_same_bits(sums[0].collect(what, nullptr).data(), dk.data(), kv_floats, dim,
                         what + ", dk");
        expect_same_bits(sums[1].collect(what, nullptr).data(), dv.data(), kv_floats, dim,
                         what + ", dv");
      }
    }
  }
}

}  // namespace
}  // namespace kvx::gpu
