// One attention of a pass in the arithmetic `fixed` over a cache that the host writes, and what
// num::fixed::plain says of it; of exact spans, that they are left alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gpu/common/memory.h"
#include "gpu/fused/attend.h"
#include "tests/gpu/attend_case.h"
#include "tests/support/fixed_random.h"

namespace kvx::test {

// How a side's stored numbers become code * s + z.
enum class ZeroPoint : uint8_t { kStored, kNegated, kSymmetric };

struct FusedSide {
  int bits = 4, group = 128;
  bool along_tokens = false;
  ZeroPoint zero = ZeroPoint::kStored;
  gpu::SealRule rule;
};

struct FusedSpec {
  int q_heads = 4, kv_heads = 1, dim = 128, page_tokens = 256;
  FusedSide side[2];  // by Side
  gpu::Reads reads = gpu::Reads::kStreamed;
  gpu::ScalarType type = gpu::ScalarType::kF32;  // of the pass
  FixedRange range = FixedRange::kPlain;
  std::vector<SpanSpec> spans;
  int32_t count_slack = 0;  // bounds above what is there
  int32_t length_slack = 0;
  int first_id = 0;  // spans of one id and shape hold the same, whatever is beside them

  std::string name() const;
};

class FusedCase {
 public:
  FusedCase(const FusedSpec& spec, uint64_t seed);

  // Output of the device, [pass row][q heads][dim]; `fences`: memory before and behind out and
  // scratch is as it was.
  std::vector<float> run(gpu::fused::FusedForm form, bool* fences) const;
  // Enqueued by `launch`, which is given what enqueues on a stream.
  using Launch = std::function<void(const std::function<void(cudaStream_t)>&)>;
  std::vector<float> run(gpu::fused::FusedForm form, bool* fences, const Launch& launch) const;

  // First differences from the definition, for at most `queries` query heads spread over the pass;
  // empty if none.
  std::string compare(const std::vector<float>& out, int queries) const;

  // Of one query head of a token of a span, by the definition.
  std::vector<float> expected(int span, int32_t token, int head) const;

 private:
  struct Rows {  // of one side, span and KV head
    std::vector<uint8_t> codes;
    std::vector<float> scale, zero, exact;
  };
  struct Host {  // one side
    std::vector<std::byte> codes, scale, zero;
    std::vector<uint16_t> ring;
    std::vector<float> pass;
    std::vector<Rows> rows;  // [span * kv heads + head]
  };
  gpu::SideFormat format(int side) const;
  gpu::CacheShape shape() const { return {spec_.kv_heads, spec_.dim, spec_.page_tokens}; }
  gpu::SideView host_view(int side) const;
  gpu::fused::AffineScheme scheme() const;
  void fill(int side, uint64_t seed);
  void fill_rows(int side, int span, int head, FixedDraw& draw);
  std::vector<num::fixed::RowRead> reads(int side, int span, int head, int32_t position) const;

  FusedSpec spec_;
  std::vector<gpu::PassSpan> spans_;
  std::vector<int32_t> pages_;
  int32_t pages_per_slot_ = 0, page_count_ = 0, rows_ = 0;
  Host side_[2];
  std::vector<float> q_;
};

}  // namespace kvx::test
