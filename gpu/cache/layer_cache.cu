#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "gpu/cache/layer_cache.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};
constexpr int64_t kLongest = int64_t{1} << 30;  // tokens of a sequence

std::vector<float> dense(ConstRows rows) {
  std::vector<float> all;
  all.reserve(static_cast<size_t>(rows.tokens * rows.heads * rows.dim));
  for (int64_t token = 0; token < rows.tokens; ++token) {
    for (int head = 0; head < rows.heads; ++head) {
      const float* row = rows.row(token, head);
      all.insert(all.end(), row, row + rows.dim);
    }
  }
  return all;
}

const char* input_name(InputType type) {
  return type == InputType::kF32 ? "f32" : type == InputType::kF16 ? "f16" : "bf16";
}

}  // namespace

DeviceLayerCache::DeviceLayerCache(const Descriptor& descriptor, const CacheConfig& config)
    : own_(std::make_unique<CachePool>(descriptor, std::vector<CacheConfig>{config},
                                       PoolLimits{.sequences = 1, .tokens = 1})),
      pool_(own_.get()),
      non_finite_(1) {}

DeviceLayerCache::DeviceLayerCache(const CachePool& pool, int layer, cudaStream_t stream)
    : pool_(&pool), layer_(layer), stream_(stream) {}

void DeviceLayerCache::require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

void DeviceLayerCache::check_rows(ConstRows rows, std::span<const Span> spans,
                                  const char* what) const {
  int64_t tokens = 0;
  for (const Span& span : spans) {
    require(span.count >= 0, "span of negative count");
    tokens += span.count;
  }
  require(rows.tokens == tokens && rows.heads > 0 && rows.heads % shape().kv_heads == 0 &&
              rows.dim == shape().head_dim,
          what);
}

// Sequences.

CachePool& DeviceLayerCache::own_pool() {
  require(own_ != nullptr, "a view of a pool's layer is to be read only");
  return *own_;
}

void DeviceLayerCache::make_room(int32_t more_sequences, int32_t length, int32_t pages) {
  CachePool& pool = own_pool();
  const PageTable& table = pool.pages();
  const PoolLimits now{.sequences = table.slots(),
                       .tokens = table.pages_per_slot() * shape().page_tokens,
                       .pages = table.page_count()};
  PoolLimits wanted = now;
  const int32_t sequences = table.open_sequences() + more_sequences;
  if (sequences > now.sequences) wanted.sequences = std::max(sequences, 2 * now.sequences);
  if (length > now.tokens) {
    wanted.tokens = static_cast<int32_t>(
        std::max<int64_t>(length, std::min<int64_t>(2 * int64_t{now.tokens}, kLongest)));
  }
  const int32_t missing = pages - table.free_pages();
  if (missing > 0) wanted.pages = now.pages + std::max(missing, now.pages);
  if (wanted == now) return;
  pool.grow(wanted, stream_);
}

SeqId DeviceLayerCache::open() {
  make_room(1, 0, 0);
  return own_pool().open();
}

SeqId DeviceLayerCache::fork(SeqId seq) {
  make_room(1, 0, own_pool().pages_to_fork(seq));
  const SeqId child = own_pool().fork(seq, stream_);
  if (const Pending* rows = pending(seq)) {
    Pending copy{.seq = child, .span = rows->span};
    copy.span.slot = pool_->slot(child);
    settle({&copy, 1});
  }
  return child;
}

void DeviceLayerCache::close(SeqId seq) {
  own_pool().close(seq);
  std::erase_if(pending_, [seq](const Pending& rows) { return rows.seq == seq; });
}

// The last append.

const DeviceLayerCache::Pending* DeviceLayerCache::pending(SeqId seq) const {
  const auto found = std::find_if(pending_.begin(), pending_.end(),
                                  [seq](const Pending& rows) { return rows.seq == seq; });
  return found == pending_.end() ? nullptr : &*found;
}

std::vector<DeviceLayerCache::Run> DeviceLayerCache::runs() const {
  std::vector<Run> all;
  for (size_t first = 0, end = 0; first < pending_.size(); first = end) {
    const auto follows = [this](size_t i) {
      return pending_[i].span.row == pending_[i - 1].span.row + pending_[i - 1].span.count;
    };
    for (end = first + 1; end < pending_.size() && follows(end);) ++end;
    all.push_back(Run(pending_).subspan(first, end - first));
  }
  return all;
}

AppendArgs DeviceLayerCache::pass_of(Run run) const {
  AppendArgs args;
  const int32_t base = run[0].span.row;
  std::vector<PassSpan> spans;
  for (const Pending& rows : run) {
    PassSpan& span = spans.emplace_back(rows.span);
    span.row -= base;
    args.pass.rows += span.count;
    args.pass.max_count = std::max(args.pass.max_count, span.count);
    args.pass.max_length = std::max(args.pass.max_length, span.first + span.count);
  }
  spans_.reserve(static_cast<int64_t>(spans.size()));
  spans_.upload(spans, 0, stream_);
  args.pass.spans = spans_.get();
  args.pass.span_count = static_cast<int32_t>(spans.size());
  args.k.data = rows_[0].get() + base * row_values();
  args.v.data = rows_[1].get() + base * row_values();
  for (const Side side : kSides) args.view[static_cast<size_t>(side)] = pool_->view(layer_, side);
  return args;
}

void DeviceLayerCache::append(ConstRows k, ConstRows v, std::span<const Span> spans) {
  CachePool& pool = own_pool();
  check_rows(k, spans, "append: k is not of the shape of spans and layer");
  check_rows(v, spans, "append: v is not of the shape of spans and layer");
  require(k.heads == shape().kv_heads && v.heads == shape().kv_heads,
          "append: rows of another number of heads");
  for (size_t i = 0; i < spans.size(); ++i) {
    require(spans[i].first == pool.length(spans[i].seq), "append: span does not start at the end");
    for (size_t j = 0; j < i; ++j) {
      require(spans[i].seq != spans[j].seq, "append: two spans of one sequence");
    }
    if (spans[i].first + spans[i].count > kLongest || k.tokens > kLongest) {
      throw usage_error("the device takes sequences of up to " + std::to_string(kLongest) +
                        " tokens");
    }
  }
  for (const Run run : runs()) settle(run);
  pending_.clear();

  std::vector<Pending> fresh;
  int32_t row = 0;
  for (const Span& span : spans) {
    if (span.count == 0) continue;
    const auto first = static_cast<int32_t>(span.first), count = static_cast<int32_t>(span.count);
    make_room(0, first + count, pool.pages_needed(span.seq, first + count));
    pool.reserve(span.seq, first + count, stream_);
    fresh.push_back(
        {.seq = span.seq,
         .span = {.first = first, .slot = pool.slot(span.seq), .count = count, .row = row}});
    row += count;
  }
  if (fresh.empty()) return;
  for (const auto& [side, rows] : {std::pair(0, k), std::pair(1, v)}) {
    rows_[side].reserve(rows.tokens * row_values());
    rows_[side].upload(dense(rows), 0, stream_);
  }
  AppendArgs args = pass_of(fresh);
  if (config().nonfinite == NonFinite::kRefuse) {
    args.non_finite = non_finite_.get();
    non_finite_.upload(std::span(&kAllFinite, 1), 0, stream_);
    if (config().arithmetic == Arithmetic::kFixed) args.scale_key = args.non_finite;
    for (const Side side : {Side::kK, Side::kV})
      args.scale_note[static_cast<int>(side)] = kScaleOfK + static_cast<NonFiniteKey>(side);
  }
  kernels().append(args, stream_);
  check_finite(k, v, args, fresh);
  for (const Pending& rows : fresh) {
    pool.set_length(rows.seq, rows.span.first + rows.span.count);
  }
  pending_ = std::move(fresh);
}

void DeviceLayerCache::check_finite(ConstRows k, ConstRows v, const AppendArgs& args,
                                    Run run) const {
  if (args.non_finite == nullptr) return;
  NonFiniteKey key = kAllFinite;
  non_finite_.download({&key, 1}, 0, stream_);
  if (key == kAllFinite) return;
  if (key >= kScaleOfK) refuse_scale(run);
  const auto take = [&key](int size) {
    const auto at = static_cast<int>(key % static_cast<NonFiniteKey>(size));
    key /= static_cast<NonFiniteKey>(size);
    return at;
  };
  const Side side = key < NonFiniteKey{kKeyOfV} ? Side::kK : Side::kV;
  key %= NonFiniteKey{kKeyOfV};
  const int channel = take(shape().head_dim), head = take(shape().kv_heads);
  const auto row = static_cast<int64_t>(key);
  const auto of = std::find_if(run.begin(), run.end(), [row](const Pending& rows) {
    return row < rows.span.row + rows.span.count;
  });
  if (of == run.end()) throw std::logic_error("append: a row outside the pass is not finite");
  const float value = (side == Side::kK ? k : v).row(row, head)[channel];
  throw environment_error("layer " + std::to_string(config().shape.layer) + ", " + side_name(side) +
                          ", head " + std::to_string(head) + ", token " +
                          std::to_string(of->span.first + row - of->span.row) + ", channel " +
                          std::to_string(channel) + ": " + std::to_string(value) +
                          " is not finite in " + input_name(traits().input));
}

void DeviceLayerCache::settle(Run run) const { kernels().settle(pass_of(run), stream_); }

void DeviceLayerCache::settle(SeqId seq) {
  own_pool();
  length(seq);
  const Pending* rows = pending(seq);
  if (rows == nullptr) return;
  settle(Run(rows, 1));
  pending_.erase(pending_.begin() + (rows - pending_.data()));
}

void DeviceLayerCache::truncate(SeqId seq, int64_t length) {
  CachePool& pool = own_pool();
  const int32_t now = pool.length(seq);
  if (length < 0 || length > now) {
    throw usage_error("cannot truncate " + std::to_string(now) + " tokens to " +
                      std::to_string(length));
  }
  if (length == now) return;
  const auto shorter = static_cast<int32_t>(length);
  for (const Side side : kSides) {
    const int32_t after = rule(side).sealed(shorter);
    const int32_t lost = std::min(rule(side).sealed(now), shorter);
    if (after < lost) {
      throw usage_error("cannot truncate to " + std::to_string(length) + " tokens: layer " +
                        std::to_string(config().shape.layer) + ", " + side_name(side) +
                        ", tokens " + std::to_string(after) + " .. " + std::to_string(lost - 1) +
                        " would be exact and are sealed already");
    }
  }
  settle(seq);
  pool.set_length(seq, shorter);
}

}  // namespace kvx::gpu
