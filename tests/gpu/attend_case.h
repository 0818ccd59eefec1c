// One attention call over a cache that the host writes, and what the reference says of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/cache/attend.h"
#include "gpu/common/memory.h"
#include "tests/gpu/attend_codecs.h"

namespace kvx::test {

struct SpanSpec {
  int32_t first, count;
  bool exact = false;
};

struct AttendSpec {
  TestCodec codec = TestCodec::kHalf;
  int q_heads = 4, kv_heads = 4, dim = 64, page_tokens = 256;
  gpu::SideFormat format[2];  // by Side
  gpu::Reads reads = gpu::Reads::kStreamed;
  gpu::ScalarType type = gpu::ScalarType::kF32;  // of the pass
  std::vector<SpanSpec> spans;
  bool non_finite = false;    // some rows decode to, or are, inf and NaN
  bool check_values = false;  // K, V and q of ieee.md 2.8
  int32_t count_slack = 0;    // bounds above what is there
  int32_t length_slack = 0;
};

// A format of 16-bit codes, and one with scale and zero.
gpu::SideFormat half_format(gpu::SealRule rule);
gpu::SideFormat scaled_format(gpu::SealRule rule, int bits, int group, bool along_tokens);

struct AttendResult {
  std::vector<float> out;  // [pass row][q heads][dim]
  bool fences = true;      // memory before and behind out and scratch is as it was
};

// A case in device memory.
struct AttendOnDevice {
  gpu::DeviceArray<std::byte> memory[16];
  gpu::AttendArgs args;
  int64_t scratch_floats = 0;
};

class AttendCase {
 public:
  AttendCase(const AttendSpec& spec, uint64_t seed);

  // On the device, in one form.
  AttendResult run(gpu::AttendForm form) const;
  AttendResult run_chosen() const;
  // Scratch for one form, or (nullptr) the one that is chosen.
  AttendOnDevice upload(const gpu::AttendForm* form) const;

  // Output of one query head of one row by num::plain::attend, [dim].
  std::vector<float> expected(int span, int32_t token, int head) const;

  const AttendSpec& spec() const { return spec_; }

  // First differences between what the device gave and the reference, for at most `queries` queries
  // spread over the pass; empty if none.
  std::string compare(const std::vector<float>& out, int64_t queries) const;

 private:
  struct Host {  // one side
    std::vector<std::byte> codes, scale, zero;
    std::vector<uint16_t> ring;
    std::vector<float> pass;  // [row][kv head][dim]
    std::vector<std::vector<std::vector<float>>>
        sealed;  // decoded, [span * kv heads + head][token]
  };
  std::vector<float> row(int side, int span, int head, int32_t token, int32_t query) const;
  std::vector<float> decode(int side, int span, int head, int32_t token) const;
  void fill(uint64_t seed);
  void taint();
  gpu::SideView host_view(int side) const;
  AttendResult run(const gpu::AttendForm* form) const;

  AttendSpec spec_;
  std::vector<gpu::PassSpan> spans_;
  std::vector<int32_t> pages_;
  int32_t pages_per_slot_ = 0;
  int32_t page_count_ = 0;
  int32_t rows_ = 0;
  Host side_[2];
  std::vector<float> q_;
};

}  // namespace kvx::test
