#include "sim/num/attention_tile.h"

#include "sim/num/attention.h"
#include "sim/num/attention_kernel.h"
#include "sim/num/isa.h"

namespace kvx::num {
namespace {

bool wide() { return active_isa() == Isa::kAvx512; }

}  // namespace

int attention_tile_rows() { return wide() ? avx512::attention_rows() : avx2::attention_rows(); }

int64_t attention_scratch_floats(int head_dim) {
  return wide() ? avx512::attention_scratch(head_dim) : avx2::attention_scratch(head_dim);
}

void attend_tile(const AttentionSides& sides, int head_dim, std::span<const AttentionQuery> queries,
                 float* scratch) {
  const auto attention = wide() ? avx512::attention : avx2::attention;
  attention(sides, head_dim, attention_scale(head_dim), queries.data(),
            static_cast<int>(queries.size()), scratch);
}

void pack_key_panel(const float* rows, int64_t stride, int count, int head_dim, float* panel) {
  const auto pack = wide() ? avx512::key_panel : avx2::key_panel;
  pack(rows, stride, count, head_dim, panel);
}

}  // namespace kvx::num
