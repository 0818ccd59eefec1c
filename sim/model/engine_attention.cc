#include "sim/model/engine_attention.h"

#include <omp.h>

#include <algorithm>
#include <array>

#include "sim/model/fixed_attention.h"
#include "sim/model/parallel.h"
#include "sim/num/attention.h"
#include "sim/num/attention_tile.h"

namespace kvx::model {
namespace {

// Ascending runs of rows that some map reads in the given way.
void append_runs(std::span<const ReadMap> maps, Held held, int64_t rows,
                 std::vector<RowRange>& out) {
  std::vector<int64_t> change(static_cast<size_t>(rows + 1));
  for (const ReadMap& map : maps) {
    for (const RowRange& range : map) {
      if (range.held != held) continue;
      ++change[range.first];
      --change[range.first + range.count];
    }
  }
  int64_t readers = 0;
  for (int64_t t = 0; t < rows; ++t) {
    const int64_t before = readers;
    readers += change[t];
    if (readers == 0) continue;
    if (before == 0) {
      out.push_back({t, 1, held});
    } else {
      ++out.back().count;
    }
  }
}

}  // namespace

void AttentionPass::plan(const LayerCache& cache, const PassChunk& chunk, Side side,
                         SideReads& reads) const {
  const Span& span = chunk.span;
  const int64_t rows = span.first + span.count;
  reads.rows = rows;
  reads.maps.clear();
  reads.sealed_prefix.clear();
  reads.needed.clear();
  std::optional<int64_t> lead;
  bool prefixes = true;
  const ReadMap held = mode_ == CacheMode::kAll ? cache.held(span.seq, side) : ReadMap{};
  for (int64_t i = 0; i < span.count; ++i) {
    const int64_t query = span.first + i;
    if (chunk.exact) {
      reads.maps.push_back({{0, rows, Held::kExact}});
    } else if (mode_ == CacheMode::kAll) {
      reads.maps.push_back(held);
    } else {
      reads.maps.push_back(cache.reads(span.seq, side, query));
    }
    const bool whole = chunk.exact || mode_ == CacheMode::kAll;
    const auto form = read_form(reads.maps.back(), whole ? rows : query + 1);
    if (form && form->sealed > 0 && !lead) lead = form->lead;
    prefixes = prefixes && form && (form->sealed == 0 || form->lead == lead);
    reads.sealed_prefix.push_back(form ? form->sealed : 0);
  }
  if (!prefixes) reads.sealed_prefix.clear();
  reads.lead = prefixes ? lead.value_or(0) : 0;
  append_runs(reads.maps, Held::kSealed, rows, reads.needed);
  if (reads.lead > 0) {  // the lead lies before the sealed rows
    reads.needed.front().first = 0;
    reads.needed.front().count += reads.lead;
  }
  append_runs(reads.maps, Held::kExact, rows, reads.needed);
}

void AttentionPass::fetch(const LayerCache& cache, const PassChunk& chunk, Side side,
                          ConstRows fresh, SideReads& reads) const {
  reads.heads = fresh.heads;
  reads.stride = (fresh.dim + num::kPanel - 1) / num::kPanel * num::kPanel;
  const int64_t floats = fresh.heads * reads.rows * reads.stride;
  reads.sealed.reserve(floats);
  reads.exact.reserve(floats);
  std::vector<RowRange> pieces;
  constexpr int64_t kPiece = 256;  // rows that one thread reads at a time
  for (const RowRange& range : reads.needed) {
    for (int64_t first = range.first; first < range.first + range.count; first += kPiece)
      pieces.push_back({first, std::min(kPiece, range.first + range.count - first), range.held});
  }
  parallel_for(threads_, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    const RowRange& piece = pieces[static_cast<size_t>(i)];
    const Rows to{reads.row(piece.held, piece.first, 0),
                  piece.count,
                  fresh.heads,
                  fresh.dim,
                  reads.stride,
                  reads.rows * reads.stride};
    if (!chunk.exact && piece.held == Held::kSealed) {
      read_form_rows(cache, chunk.span.seq, side, reads.lead, piece.first, piece.count, to);
      return;
    }
    if (!chunk.exact) {
      read_rows(cache, chunk.span.seq, side, piece, to);
      return;
    }
    for (int64_t t = 0; t < piece.count; ++t) {
      for (int h = 0; h < fresh.heads; ++h)
        std::copy_n(fresh.row(piece.first + t, h), fresh.dim, to.row(t, h));
    }
  });
}

void AttentionPass::attend_tiles(const PassChunk& chunk, ConstRows q, Rows out) {
  const int dim = q.dim;
  const int kv_heads = k_.heads;
  const int group = q.heads / kv_heads;
  const int64_t panels = (k_.rows + num::kPanel - 1) / num::kPanel;
  const int64_t side_floats = kv_heads * panels * num::kPanel * dim;
  float* const key_panels = panels_.reserve(2 * side_floats);
  const auto panel_at = [&](Held held, int head, int64_t panel) {
    return key_panels + (held == Held::kSealed ? 0 : side_floats) +
           (head * panels + panel) * num::kPanel * dim;
  };

  std::vector<RowRange> packing;  // `first` counts panels, one head each
  for (const RowRange& range : k_.needed) {
    for (int64_t p = range.first / num::kPanel; p * num::kPanel < range.first + range.count; ++p)
      packing.push_back({p, 1, range.held});
  }
  parallel_for(threads_, static_cast<int64_t>(packing.size()) * kv_heads, [&](int64_t i) {
    const RowRange& work = packing[static_cast<size_t>(i / kv_heads)];
    const int head = static_cast<int>(i % kv_heads);
    const int64_t row = work.first * num::kPanel;
    num::pack_key_panel(k_.row(work.held, row, head), k_.stride,
                        static_cast<int>(std::min<int64_t>(num::kPanel, k_.rows - row)), dim,
                        panel_at(work.held, head, work.first));
  });

  const int64_t queries = chunk.span.count * group;  // of one KV head: [token][head of the group]
  const int tile = num::attention_tile_rows();
  const int64_t tiles = (queries + tile - 1) / tile;
  const int64_t scratch_floats = (num::attention_scratch_floats(dim) + 15) / 16 * 16;
  float* const scratch = scratch_.reserve(scratch_floats * threads_);
  // The latest queries see most rows: they go first.
  parallel_for(threads_, tiles * kv_heads, [&](int64_t i) {
    const int head = static_cast<int>(i % kv_heads);
    const int64_t first = (tiles - 1 - i / kv_heads) * tile;
    std::array<num::AttentionQuery, kMaxTileRows> work;
    const int64_t count = std::min<int64_t>(tile, queries - first);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t token = (first + j) / group;
      const int q_head = head * group + static_cast<int>((first + j) % group);
      work[static_cast<size_t>(j)] = {.q = q.row(chunk.row + token, q_head),
                                      .out = out.row(chunk.row + token, q_head),
                                      .position = chunk.span.first + token,
                                      .k_sealed = k_.sealed_prefix[static_cast<size_t>(token)],
                                      .v_sealed = v_.sealed_prefix[static_cast<size_t>(token)]};
    }
    const num::AttentionSides sides{.k_sealed = panel_at(Held::kSealed, head, 0),
                                    .k_exact = panel_at(Held::kExact, head, 0),
                                    .v_sealed = v_.row(Held::kSealed, 0, head),
                                    .v_exact = v_.row(Held::kExact, 0, head),
                                    .v_stride = v_.stride};
    num::attend_tile(sides, dim, {work.data(), static_cast<size_t>(count)},
                     scratch + omp_get_thread_num() * scratch_floats);
  });
}

void AttentionPass::attend_plain(const PassChunk& chunk, ConstRows q, Rows out) const {
  const int group = q.heads / k_.heads;
  parallel_for(threads_, chunk.span.count * q.heads, [&](int64_t i) {
    const int64_t token = i / q.heads;
    const int q_head = static_cast<int>(i % q.heads);
    const int head = q_head / group;
    const int64_t position = chunk.span.first + token;
    const auto version = [&](const SideReads& side) {
      std::vector<const float*> rows(static_cast<size_t>(position + 1), nullptr);
      for (const RowRange& range : side.maps[static_cast<size_t>(token)]) {
        for (int64_t t = range.first; t < range.first + range.count && t <= position; ++t)
          rows[static_cast<size_t>(t)] = side.row(range.held, t, head);
      }
      return rows;
    };
    const std::vector<const float*> k = version(k_), v = version(v_);
    std::vector<num::AttentionRow> rows;
    for (int64_t t = 0; t <= position; ++t) {
      const size_t at = static_cast<size_t>(t);
      if (k[at] != nullptr && v[at] != nullptr) rows.push_back({t, k[at], v[at]});
    }
    const size_t dim = static_cast<size_t>(q.dim);
    num::plain::attend({q.row(chunk.row + token, q_head), dim}, rows,
                       {out.row(chunk.row + token, q_head), dim});
  });
}

bool AttentionPass::tiles(const LayerCache& cache) const {
  return nonfinite_ == NonFinite::kRefuse && cache.config().shape.head_dim <= num::kAttentionMaxDim;
}

void AttentionPass::run(const LayerCache& cache, std::span<const PassChunk> chunks, ConstRows q,
                        ConstRows k, ConstRows v, Rows out) {
  const bool by_query = cache.traits().query_dependent_read;
  const bool streamed = mode_ != CacheMode::kAll && !by_query && tiles(cache);
  const bool fixed = cache.config().arithmetic == Arithmetic::kFixed;
  std::vector<StepAttention::Step> steps;
  std::vector<PassChunk> of_codes;
  for (const PassChunk& chunk : chunks) {
    if (fixed && !chunk.exact) {
      of_codes.push_back(chunk);
      continue;
    }
    if (by_query && !chunk.exact) {
      cache.attend(q.slice(chunk.row, chunk.span.count), {&chunk.span, 1},
                   out.slice(chunk.row, chunk.span.count));
      continue;
    }
    if (streamed && !chunk.exact) {
      if (const auto step = steps_.plan(cache, chunk.span, chunk.row)) {
        steps.push_back(*step);
        continue;
      }
    }
    plan(cache, chunk, Side::kK, k_);
    plan(cache, chunk, Side::kV, v_);
    fetch(cache, chunk, Side::kK, k.slice(chunk.row, chunk.span.count), k_);
    fetch(cache, chunk, Side::kV, v.slice(chunk.row, chunk.span.count), v_);
    const bool prefixes = !k_.sealed_prefix.empty() && !v_.sealed_prefix.empty();
    if (prefixes && tiles(cache)) {
      attend_tiles(chunk, q, out);
    } else {
      attend_plain(chunk, q, out);
    }
  }
  steps_.run(cache, steps, q, out);
  attend_fixed(cache, of_codes, mode_, threads_, q, out);
}

}  // namespace kvx::model
