// Fused attention of many query tokens over sealed rows on the device: time, and the rate of its
// products against the dense peak of 8-bit integers of an H200. Two planes of digits count: 8 d
// operations for a query and a row that it sees.
//
//   bench_gpu_prefill [part of a line's name]
#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "gpu/fused/attend.h"
#include "gpu/registry.h"
#include "tests/bench/gpu_timing.h"

namespace kvx::gpu {
namespace {

constexpr double kPeak = 1979e12;
constexpr int kPageTokens = 256;

struct Shape {
  const char* name;
  int q_heads, kv_heads, dim, sequences, tokens, chunk;
};
constexpr Shape kShapes[] = {{"32/8 32k + 2048", 32, 8, 128, 1, 32768, 2048},
                             {"32/8 8k + 2048", 32, 8, 128, 1, 8192, 2048},
                             {"32/8 32k + 512", 32, 8, 128, 1, 32768, 512},
                             {"32/8 32k + 64", 32, 8, 128, 1, 32768, 64},
                             {"32/8 32k + 8", 32, 8, 128, 1, 32768, 8},
                             {"32/32 32k + 512", 32, 32, 128, 1, 32768, 512},
                             {"32/8 8 x 4k + 256", 32, 8, 128, 8, 4096, 256}};

struct Format {
  const char* name;
  int k_bits, v_bits, k_group, v_group;
  bool k_along_tokens;
  Reads reads;
  bool compared = false;  // with the form of few queries
};
constexpr Format kFormats[] = {{"4 bits g128", 4, 4, 128, 128, true, Reads::kAll, true},
                               {"2 bits g128", 2, 2, 128, 128, true, Reads::kAll},
                               {"3 bits g128", 3, 3, 128, 128, true, Reads::kAll},
                               {"8 bits g128", 8, 8, 128, 128, true, Reads::kAll},
                               {"4 bits g64", 4, 4, 64, 64, true, Reads::kAll},
                               {"2 bits g32", 2, 2, 32, 32, true, Reads::kAll},
                               {"4 bits, K by token", 4, 4, 128, 128, false, Reads::kAll},
                               {"4 bits, K by token g32", 4, 4, 32, 32, false, Reads::kAll},
                               {"4 bits g128 streamed", 4, 4, 128, 128, true, Reads::kStreamed}};

DeviceArray<std::byte> noise(int64_t bytes) {
  std::vector<std::byte> host(static_cast<size_t>(bytes));
  std::mt19937 random(7);
  for (std::byte& b : host) b = static_cast<std::byte>(random());
  DeviceArray<std::byte> device(bytes);
  device.upload(host);
  return device;
}

// One side of a layer, all sequences.
struct Side {
  DeviceArray<std::byte> codes, scale, zero;

  Side(const SideFormat& f, const CacheShape& s, int64_t pages)
      : codes(noise(pages * s.kv_heads * s.page_tokens * f.row_bytes(s.head_dim))),
        scale(pages * s.kv_heads * page_groups(f, s) * 2),
        zero(pages * s.kv_heads * page_groups(f, s) * 2) {
    check(cudaMemset(scale.get(), 0x2C, static_cast<size_t>(scale.bytes())), "scales");  // 0.065
    check(cudaMemset(zero.get(), 0xB4, static_cast<size_t>(zero.bytes())), "zeros");     // -0.29
  }
};

void measure(const Shape& s, const Format& f) {
  if (f.k_group > s.dim || f.v_group > s.dim) return;
  const CacheShape shape{s.kv_heads, s.dim, kPageTokens};
  const SideFormat k{.bits = f.k_bits,
                     .group = f.k_group,
                     .along_tokens = f.k_along_tokens,
                     .scale_bytes = 2,
                     .zero_bytes = 2,
                     .rule = {.unit = f.k_along_tokens ? f.k_group : 1}};
  const SideFormat v{.bits = f.v_bits, .group = f.v_group, .scale_bytes = 2, .zero_bytes = 2};
  const int length = s.tokens + s.chunk, of_slot = (length + kPageTokens - 1) / kPageTokens;
  const int64_t pages = int64_t{s.sequences} * of_slot;
  std::vector<int32_t> numbers(static_cast<size_t>(pages));
  for (int64_t i = 0; i < pages; ++i) numbers[static_cast<size_t>(i)] = static_cast<int32_t>(i);
  std::vector<PassSpan> spans;
  for (int i = 0; i < s.sequences; ++i)
    spans.push_back({.first = s.tokens, .slot = i, .count = s.chunk, .row = i * s.chunk});
  const int rows = s.sequences * s.chunk;
  const int64_t width = int64_t{rows} * s.q_heads * s.dim;
  std::vector<float> q(static_cast<size_t>(width));
  std::mt19937 random(9);
  for (float& x : q) x = static_cast<float>(random()) * 0x1p-30f - 2.0f;
  DeviceArray<int32_t> device_pages(pages);
  DeviceArray<PassSpan> device_spans(s.sequences);
  DeviceArray<float> device_q(width), out(width);
  device_pages.upload(numbers);
  device_spans.upload(spans);
  device_q.upload(q);
  const Side sides[2] = {Side(k, shape, pages), Side(v, shape, pages)};
  AttendArgs args;
  args.q = device_q.get(), args.out = out.get(), args.q_heads = s.q_heads;
  args.k = args.v = {.data = device_q.get()};  // numbers, enough of them
  args.pass = {.spans = device_spans.get(),
               .span_count = s.sequences,
               .rows = rows,
               .max_count = s.chunk,
               .max_length = length,
               .reads = f.reads};
  for (int side = 0; side < 2; ++side) {
    SideView& view = args.view[side];
    view.format = side == 0 ? k : v, view.shape = shape;
    view.codes = sides[side].codes.get();
    view.scale = sides[side].scale.get(), view.zero = sides[side].zero.get();
    view.pages = device_pages.get(), view.pages_per_slot = of_slot;
  }
  using fused::FusedForm;
  constexpr FusedForm kForms[] = {FusedForm::kPrefillWhole, FusedForm::kPrefillLong,
                                  FusedForm::kPrefillShort, FusedForm::kWhole};
  constexpr const char* kNames[] = {"whole", "long", "short", "not prefill"};
  int64_t floats = 1;
  for (const FusedForm form : kForms)
    floats = std::max(floats, fused::scratch_floats(form, args.pass, shape, s.q_heads, v));
  const DeviceArray<float> scratch(floats);
  args.scratch = scratch.get();
  const double seen = static_cast<double>(rows) * s.q_heads * (s.tokens + 0.5 * (s.chunk + 1));
  const double operations = seen * 8 * s.dim;
  std::printf("%-20s %-22s", s.name, f.name);
  for (size_t i = 0; i < std::size(kForms); ++i) {
    if (kForms[i] == FusedForm::kWhole && !f.compared) continue;
    const double time = seconds([&](int) { fused::attend(kForms[i], {}, args, nullptr); });
    const double rate = operations / time;
    const bool chosen = kForms[i] == fused::fused_form(args.pass, shape, s.q_heads);
    std::printf(" | %s%s %8.3f ms %6.1f TOP/s %4.1f %%", kNames[i], chosen ? "*" : "", 1e3 * time,
                rate * 1e-12, 100 * rate / kPeak);
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace kvx::gpu

int main(int argc, char** argv) {
  using namespace kvx::gpu;
  if (const std::string why = unavailable(); !why.empty()) {
    std::printf("%s\n", why.c_str());
    return 0;
  }
  const std::string part = argc > 1 ? argv[1] : "";
  std::printf("%s\n", device_report().c_str());
  for (const Shape& shape : kShapes)
    for (const Format& format : kFormats)
      if ((std::string(shape.name) + " " + format.name).find(part) != std::string::npos)
        measure(shape, format);
}
