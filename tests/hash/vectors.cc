// Prints hashes of what the arithmetic makes of generated inputs. Builds with other compilers,
// optimisation levels and instruction sets must print the same (cross_build.py).
#include <bit>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "sim/gen/fill.h"
#include "sim/gen/random.h"
#include "sim/num/attention.h"
#include "sim/num/attention_tile.h"
#include "sim/num/elementary.h"
#include "sim/num/fixed.h"
#include "sim/num/formats.h"
#include "sim/num/gemm.h"
#include "sim/num/isa.h"
#include "sim/num/likelihood.h"
#include "sim/num/pack.h"
#include "sim/num/reduce.h"
#include "sim/num/rope.h"
#include "tests/hash/caches.h"
#include "tests/hash/engine.h"
#include "tests/hash/report.h"
#include "tests/support/fixed_case.h"

namespace kvx::hash {
namespace {

constexpr size_t kLengths[] = {1, 7, 31, 127, 128, 129, 511, 512, 513, 1000, 4097, 9001};

std::vector<float> filled(gen::Fill fill, uint32_t tensor, size_t n) {
  std::vector<float> x(n);
  gen::fill(fill, 2026, tensor, {1, 1}, 0, x);
  return x;
}

// Every kind of input that elementwise functions and reductions meet, in all lengths.
std::vector<std::vector<float>> rows() {
  std::vector<std::vector<float>> all;
  uint32_t tensor = 0;
  for (const gen::Fill fill : {gen::Fill::kNormal, gen::Fill::kZeros, gen::Fill::kF32Subnormal,
                               gen::Fill::kF32Extreme, gen::Fill::kF16Ties, gen::Fill::kNonFinite})
    for (const size_t n : kLengths) all.push_back(filled(fill, ++tensor, n));
  std::vector<float> patterns(1 << 17);  // one binary32 number in 32768
  for (size_t i = 0; i < patterns.size(); ++i)
    patterns[i] = std::bit_cast<float>(static_cast<uint32_t>(i * 32768 + (i * 40503) % 32768));
  all.push_back(patterns);
  return all;
}

Hash of_floats(const std::vector<float>& x) {
  Hash hash;
  hash.add(std::span<const float>(x));
  return hash;
}

using In = std::span<const float>;
using Out = std::span<float>;

void elementwise(Report& report, const char* name, float (*scalar)(float),
                 void (*vector)(In, Out)) {
  Hash plain, fast;
  for (const std::vector<float>& x : rows()) {
    std::vector<float> y(x.size());
    for (const float value : x) plain.add(scalar(value));
    vector(x, y);
    fast.add(In(y));
  }
  report.line(name, plain);
  report.line(std::string(name) + ".span", fast);
}

void formats(Report& report) {
  Hash decode, encode, pack;
  for (uint32_t i = 0; i < 65536; ++i) {
    decode.add(num::f16_decode(static_cast<uint16_t>(i)));
    decode.add(num::bf16_decode(static_cast<uint16_t>(i)));
  }
  for (const std::vector<float>& x : rows()) {
    std::vector<uint16_t> codes(x.size());
    for (const float value : x) {
      encode.add(num::f16_encode(value));
      encode.add(num::bf16_encode(value));
    }
    num::f16_encode(x, codes);
    encode.add(std::span<const uint16_t>(codes));
    num::bf16_encode(x, codes);
    encode.add(std::span<const uint16_t>(codes));
  }
  for (int bits = 1; bits <= 8; ++bits)
    for (const size_t n : kLengths) {
      std::vector<uint8_t> codes(n);
      for (size_t i = 0; i < n; ++i)
        codes[i] = static_cast<uint8_t>(gen::Source{3, static_cast<uint32_t>(bits)}.words(i)[0] &
                                        ((1u << bits) - 1u));
      std::vector<uint32_t> words(
          static_cast<size_t>(num::packed_words(static_cast<int64_t>(n), bits)));
      num::pack_codes(codes, bits, words);
      num::unpack_codes(words, bits, codes);
      pack.add(std::span<const uint32_t>(words));
      pack.add(std::span<const uint8_t>(codes));
    }
  report.line("formats.decode", decode);
  report.line("formats.encode", encode);
  report.line("pack", pack);
}

void wide(Report& report) {
  Hash log, exp2, phases, rope;
  const gen::Source source{4, 0};
  for (uint64_t i = 0; i < 20000; ++i) {
    log.add(num::log64(
        std::bit_cast<double>((uint64_t{source.words(i)[0]} << 32) | source.words(i)[1])));
    log.add(num::log64(0.5 + source.uniform(i)));
    exp2.add(num::exp2_64(2000 * source.uniform(i) - 1000));
  }
  std::vector<uint32_t> phase(100003);
  for (size_t i = 0; i < phase.size(); ++i) phase[i] = source.words(i)[2];
  std::vector<float> sin(phase.size()), cos(phase.size());
  num::sincos_phase(phase, sin, cos);
  phases.add(In(sin));
  phases.add(In(cos));
  for (size_t i = 0; i < 1000; ++i) {
    phases.add(num::sincos_phase(phase[i]).sin);
    phases.add(num::sincos_phase(phase[i]).cos);
  }
  for (const double theta : {1e4, 5e5, 1e6})
    for (const int dim : {64, 80, 128}) {
      const std::vector<uint64_t> steps = num::rope_steps(dim, theta, {});
      rope.add(std::span<const uint64_t>(steps));
      std::vector<float> s(steps.size()), c(steps.size());
      for (int64_t position = 0; position < 131072; position += 4099) {
        std::vector<float> row =
            filled(gen::Fill::kNormal, static_cast<uint32_t>(position), static_cast<size_t>(dim));
        num::rope_table(steps, position, s, c);
        num::rope_rotate(row, s, c);
        rope.add(In(row));
      }
    }
  report.line("log64", log);
  report.line("exp2_64", exp2);
  report.line("sincos_phase", phases);
  report.line("rope", rope);
}

struct Reductions {
  float (*sum)(In);
  double (*sum64)(std::span<const double>);
  float (*sum_squares)(In);
  float (*max)(In);
  int64_t (*argmax)(In);
  void (*rms_norm)(In, In, float, Out);
  void (*softmax)(In, Out);
  void (*swiglu)(In, In, Out);
  double (*log_sum_exp)(In);
  double (*kl_divergence)(In, double, In, double);
};

void reductions(Report& report, const char* name, const Reductions& f) {
  Hash hash;
  for (const std::vector<float>& x : rows()) {
    const std::vector<float> w = filled(gen::Fill::kNormal, 1000, x.size());
    const std::vector<double> wide(x.begin(), x.end());
    std::vector<float> y(x.size());
    hash.add(f.sum(x));
    hash.add(f.sum64(wide));
    hash.add(f.sum_squares(x));
    hash.add(f.max(x));
    hash.add(f.argmax(x));
    f.rms_norm(x, w, 1e-6f, y);
    hash.add(In(y));
    f.softmax(x, y);
    hash.add(In(y));
    f.swiglu(x, w, y);
    hash.add(In(y));
    hash.add(f.log_sum_exp(x));
    hash.add(f.kl_divergence(w, f.log_sum_exp(w), x, f.log_sum_exp(x)));
  }
  report.line(name, hash);
}

void products(Report& report) {
  constexpr int64_t kM = 5, kN = 70, kK = 1100;
  Hash plain, gemm;
  const std::vector<float> x = filled(gen::Fill::kHeavy, 1, kM * kK);
  const std::vector<float> w = filled(gen::Fill::kHeavy, 2, kN * kK);
  for (int64_t i = 0; i < kM; ++i)
    for (int64_t j = 0; j < kN; ++j)
      plain.add(num::plain::dot({&x[static_cast<size_t>(i * kK)], kK},
                                {&w[static_cast<size_t>(j * kK)], kK}));
  num::PackedWeights weights(kN, kK, num::WeightType::kF32);
  for (int64_t p = 0; p < weights.panels(); ++p)
    weights.set_panel(p, &w[static_cast<size_t>(p * num::kPanel * kK)]);
  num::PackedInput input;
  input.reshape(kM, kK);
  for (int64_t t = 0; t < input.tiles(); ++t)
    input.set_tile(t, &x[static_cast<size_t>(t * input.tile_rows() * kK)], kK);
  std::vector<float> y(kM * kN);
  const num::Gemm product(input, weights, y.data(), kN, 1);
  for (int64_t task = 0; task < product.tasks(); ++task) product.run(task);
  gemm.add(In(y));
  report.line("dot", plain);
  report.line("gemm", gemm);
}

void attention(Report& report) {
  constexpr int kDim = 64;
  constexpr int64_t kRows = 700;
  Hash plain, tile;
  const std::vector<float> q = filled(gen::Fill::kNormal, 1, kDim);
  std::vector<float> k(kRows * kDim), v(kRows * kDim);
  gen::fill(gen::Fill::kRopeKeys, 2026, 2, {1, kDim}, 0, k);
  gen::fill(gen::Fill::kHeavy, 2026, 3, {1, kDim}, 0, v);
  constexpr int64_t kPanels = (kRows + 31) / 32;
  const num::AlignedArray<float> panels = num::aligned_floats(kPanels * 32 * kDim);
  for (int64_t p = 0; p < kPanels; ++p)
    num::pack_key_panel(&k[static_cast<size_t>(p * 32 * kDim)], kDim,
                        static_cast<int>(kRows - p * 32 < 32 ? kRows - p * 32 : 32), kDim,
                        &panels[p * 32 * kDim]);
  const num::AlignedArray<float> scratch =
      num::aligned_floats(static_cast<size_t>(num::attention_scratch_floats(kDim)));
  const num::AttentionSides sides{nullptr, panels.get(), nullptr, v.data(), kDim};
  for (const int64_t visible : {1, 255, 256, 257, 700}) {
    std::vector<num::AttentionRow> seen;
    for (int64_t t = 0; t < visible; ++t)
      seen.push_back({t, &k[static_cast<size_t>(t * kDim)], &v[static_cast<size_t>(t * kDim)]});
    std::vector<float> out(kDim);
    num::plain::attend(q, seen, out);
    plain.add(In(out));
    const num::AttentionQuery query{q.data(), out.data(), visible - 1, 0, 0};
    num::attend_tile(sides, kDim, {&query, 1}, scratch.get());
    tile.add(In(out));
  }
  report.line("attention", plain);
  report.line("attention.tile", tile);
}

// Arithmetic fixed over the data of fixed.md, section 4.
void fixed_attention(Report& report) {
  Hash plain, fast;
  for (const auto& [dim, bits] : {std::pair(64, 2), {128, 2}, {128, 4}, {128, 8}}) {
    const test::FixedCase data = test::fixed_page_case(dim, bits, 9000);
    for (const int64_t first : {0, 300}) {
      for (const int64_t end : {301, 1024, 9000}) {
        const std::vector<num::fixed::RowRead> rows{{first, end - first, nullptr}};
        plain.add(In(test::fixed_attend(num::fixed::plain::attend, data, rows, rows)));
        fast.add(In(test::fixed_attend(num::fixed::attend, data, rows, rows)));
      }
    }
  }
  report.line("fixed", plain);
  report.line("fixed.simd", fast);
}

// What is compiled once per instruction set, for the active one.
void vectorised(Report& report) {
  namespace n = num;
  elementwise(
      report, "exp2", [](float x) { return n::exp2(x); }, [](In x, Out y) { n::exp2(x, y); });
  elementwise(
      report, "exp", [](float x) { return n::exp(x); }, [](In x, Out y) { n::exp(x, y); });
  elementwise(
      report, "silu", [](float x) { return n::silu(x); }, [](In x, Out y) { n::silu(x, y); });
  Hash rsqrt;
  for (const std::vector<float>& x : rows())
    for (const float value : x) rsqrt.add(n::rsqrt(value));
  report.line("rsqrt", rsqrt);
  reductions(report, "reductions",
             {n::plain::sum, n::plain::sum, n::plain::sum_squares, n::plain::max, n::plain::argmax,
              n::plain::rms_norm, n::plain::softmax, n::plain::swiglu, n::plain::log_sum_exp,
              n::plain::kl_divergence});
  reductions(report, "reductions.simd",
             {n::sum, n::sum, n::sum_squares, n::max, n::argmax, n::rms_norm, n::softmax, n::swiglu,
              n::log_sum_exp, n::kl_divergence});
  wide(report);
  products(report);
  attention(report);
  fixed_attention(report);
}

void inputs(Report& report) {
  for (int i = 0; i < gen::kFills; ++i) {
    std::vector<float> x(100 * 2 * 48);
    gen::fill(static_cast<gen::Fill>(i), 1, 2, {2, 48}, 3, x);
    report.line(std::string("inputs.") + gen::fill_name(static_cast<gen::Fill>(i)), of_floats(x));
  }
}

}  // namespace
}  // namespace kvx::hash

// kvx_hash_vectors [avx2]: the best instruction set of the machine, or AVX2.
int main(int argc, char** argv) {
  using namespace kvx;
  if (argc > 2 || (argc == 2 && std::string(argv[1]) != "avx2")) {
    std::fprintf(stderr, "usage: %s [avx2]\n", argv[0]);
    return 2;
  }
  if (argc == 2) num::set_active_isa(num::Isa::kAvx2);
  hash::Report report;
  hash::inputs(report);
  hash::formats(report);
  hash::vectorised(report);
  hash::caches(report);
  hash::seeded_models(report);
  report.total();
  hash::stories(report);
  return 0;
}
