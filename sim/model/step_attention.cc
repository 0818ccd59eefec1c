#include "sim/model/step_attention.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "sim/model/parallel.h"
#include "sim/num/attention_tile.h"

namespace kvx::model {
namespace {

int64_t quarter_of_memory() {
  return int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE) / 4;
}

}  // namespace

StepAttention::StepAttention(int threads)
    : threads_(threads), bytes_left_(quarter_of_memory()), rooms_(static_cast<size_t>(threads)) {}

std::optional<StepAttention::Step> StepAttention::plan(const LayerCache& cache, const Span& span,
                                                       int64_t row) {
  if (span.count != 1 || !claims(cache.traits().laws, Law::kPrefix)) return std::nullopt;
  const auto k = read_form(cache.reads(span.seq, Side::kK, span.first), span.first + 1);
  const auto v = read_form(cache.reads(span.seq, Side::kV, span.first), span.first + 1);
  if (!k || !v) return std::nullopt;
  const LayerShape& shape = cache.config().shape;
  const std::pair key(span.seq, shape.layer);
  auto found = decoded_.find(key);
  if (found == decoded_.end())
    found =
        decoded_.emplace(key, std::pair(DecodedRows(shape.kv_heads, shape.head_dim), int64_t{0}))
            .first;
  // Twice, for the copy that growing makes.
  const int64_t bytes =
      2 * DecodedRows::bytes(shape.kv_heads, shape.head_dim, std::max(k->sealed, v->sealed));
  if (bytes - found->second.second > bytes_left_) return std::nullopt;
  bytes_left_ -= bytes - found->second.second;
  found->second.second = bytes;
  return Step{span, row, *k, *v, &found->second.first};
}

void StepAttention::run(const LayerCache& cache, std::span<const Step> steps, ConstRows q,
                        Rows out) {
  parallel_for(threads_, std::ssize(steps), [&](int64_t i) {
    attend(cache, steps[static_cast<size_t>(i)], q, out,
           rooms_[static_cast<size_t>(omp_get_thread_num())]);
  });
}

void StepAttention::attend(const LayerCache& cache, const Step& step, ConstRows q, Rows out,
                           Room& room) const {
  const auto [layer, heads, dim] = cache.config().shape;
  const SeqId seq = step.span.seq;
  const int64_t rows = step.span.first + 1;
  DecodedRows& decoded = *step.decoded;
  decoded.update(cache, seq, step.k, step.v);

  // Exact rows lie in buffers as if all rows were there, in whole panels.
  const int64_t room_rows = (rows + num::kPanel - 1) / num::kPanel * num::kPanel;
  const int64_t stride = decoded.v_stride();
  const int64_t k_first = step.k.sealed / num::kPanel * num::kPanel;
  float* const panels = room.panels.reserve(heads * room_rows * dim);
  float* const values = room.values.reserve(heads * room_rows * stride);
  if (const int64_t count = rows - step.k.sealed; count > 0) {
    const int64_t room_count = rows - k_first, skipped = step.k.sealed - k_first;
    float* const keys = room.keys.reserve(heads * room_count * dim);
    for (int head = 0; head < heads; ++head)
      std::fill_n(keys + head * room_count * dim, skipped * dim, 0.0f);
    read_rows(cache, seq, Side::kK, {step.k.sealed, count, Held::kExact},
              {keys + skipped * dim, count, heads, dim, dim, room_count * dim});
    for (int head = 0; head < heads; ++head)
      for (int64_t row = 0; row < room_count; row += num::kPanel)
        num::pack_key_panel(keys + (head * room_count + row) * dim, dim,
                            static_cast<int>(std::min<int64_t>(num::kPanel, room_count - row)), dim,
                            panels + (head * room_rows + k_first + row) * dim);
  }
  if (const int64_t count = rows - step.v.sealed; count > 0)
    read_rows(cache, seq, Side::kV, {step.v.sealed, count, Held::kExact},
              {values + step.v.sealed * stride, count, heads, dim, stride, room_rows * stride});

  const int group = q.heads / heads, tile = num::attention_tile_rows();
  float* const scratch = room.scratch.reserve(num::attention_scratch_floats(dim));
  for (int head = 0; head < heads; ++head) {
    const num::AttentionSides sides{.k_sealed = decoded.keys(head),
                                    .k_exact = panels + head * room_rows * dim,
                                    .v_sealed = decoded.values(head),
                                    .v_exact = values + head * room_rows * stride,
                                    .v_stride = stride};
    for (int first = 0; first < group; first += tile) {
      std::array<num::AttentionQuery, kMaxTileRows> work;
      const int count = std::min(tile, group - first);
      for (int j = 0; j < count; ++j) {
        const int q_head = head * group + first + j;
        work[static_cast<size_t>(j)] = {.q = q.row(step.row, q_head),
                                        .out = out.row(step.row, q_head),
                                        .position = step.span.first,
                                        .k_sealed = step.k.sealed,
                                        .v_sealed = step.v.sealed};
      }
      num::attend_tile(sides, dim, {work.data(), static_cast<size_t>(count)}, scratch);
    }
  }
}

void StepAttention::forget(SeqId seq) {
  for (auto it = decoded_.lower_bound({seq, 0}); it != decoded_.end() && it->first.first == seq;) {
    bytes_left_ += it->second.second;
    it = decoded_.erase(it);
  }
}

}  // namespace kvx::model
