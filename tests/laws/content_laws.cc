// Laws of the stored content: its bytes, and what attention makes of it.
#include <array>
#include <map>

#include "sim/api/error.h"
#include "sim/num/attention.h"
#include "sim/num/rope.h"
#include "tests/laws/laws.h"

namespace kvx::laws {

using test::Tensor;

namespace {

// The layout explains every byte, and a cache restored from the image goes on like this one.
void bytes_come_back(const Make& fresh, StoredCache& cache, SeqId seq, const Input& input,
                     const ByteCount& counted) {
  const int64_t length = cache.length(seq), extra = input.k.tokens - length;
  const auto image = cache.image(seq);
  ByteCount laid_out;
  int64_t offset = 0;
  for (const LayoutEntry& entry : cache.layout_of(seq)) {
    RC_ASSERT(entry.offset == offset);
    RC_ASSERT(entry.bytes > 0);
    offset += entry.bytes;
    laid_out[entry.item] += entry.bytes;
  }
  RC_ASSERT(offset == static_cast<int64_t>(image.size()));
  RC_ASSERT(laid_out.bytes == counted.bytes);

  const auto made = fresh();
  StoredCache& other = *stored(*made);
  const SeqId restored = other.restore(length, image);
  RC_ASSERT(other.length(restored) == length);
  RC_ASSERT(other.image(restored) == image);
  for (const Side side : kSides) {
    RC_ASSERT(other.held(restored, side) == cache.held(seq, side));
    RC_ASSERT(test::patterns(test::read_held(other, restored, side)) ==
              test::patterns(test::read_held(cache, seq, side)));
  }
  RC_ASSERT(feed(other, restored, input, length, extra) == feed(cache, seq, input, length, extra));
  RC_ASSERT(other.image(restored) == cache.image(seq));

  auto longer = image;
  longer.push_back(std::byte{0});
  for (const auto& [tokens, bytes] :
       {std::pair(length, longer), std::pair(length + 1, image), std::pair(int64_t{-1}, image)}) {
    try {
      other.restore(tokens, bytes);
      RC_FAIL("an image of another length was taken");
    } catch (const Error& error) {
      RC_ASSERT(error.exit() == Exit::kEnvironment);
    }
  }
}

}  // namespace

void byte_honesty(const Subject& subject) {
  const Make fresh = drawn(subject);
  const int64_t extra = 3;
  const Input input = random_input(subject, random_length() + extra);
  const int64_t length = input.k.tokens - extra;
  const auto cache = fresh();
  const SeqId seq = cache->open();
  test::append(*cache, seq, input.k, input.v, 0, length);
  ByteCount counted = cache->used(seq, Side::kK);
  counted += cache->used(seq, Side::kV);
  RC_ASSERT(counted.total() == static_cast<int64_t>(cache->image(seq).size()));
  if (stored(*cache)) bytes_come_back(fresh, *stored(*cache), seq, input, counted);
}

void canonical_tensors_rebuild_the_image(const Subject& subject) {
  const Make fresh = drawn(subject);
  const Input input = random_input(subject, random_length());
  const int64_t tokens = input.k.tokens;
  const auto cache = fresh();
  const SeqId seq = cache->open();
  test::append(*cache, seq, input.k, input.v, 0, tokens);
  auto all = test::exported(*cache, seq);
  for (const Side side : kSides) {
    const std::string prefix = std::string(side_name(side)) + ".";
    if (all.count(prefix + "codes") == 0) continue;
    const auto marks = all.at(prefix + "sealed").as<uint8_t>();
    auto& decoded = all.at(prefix + "decoded").bytes;
    for (size_t row = 0; row < marks.size(); ++row) {
      if (marks[row] != 0) std::fill_n(decoded.begin() + row * kDim * 4, kDim * 4, std::byte{255});
    }
  }
  std::map<std::string, ArtifactTensor> tensors;
  for (const auto& [name, tensor] : all) {
    tensors[name] = {tensor.dtype, tensor.shape, tensor.bytes};
  }
  const auto other = fresh();
  const SeqId copy = stored(*other)->import_from(tokens, [&](const std::string& name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  });
  RC_ASSERT(other->length(copy) == tokens);
  RC_ASSERT(other->image(copy) == cache->image(seq));
}

namespace {

// A key of all heads as attention takes it, out of one as the cache reads it.
void rotate_stored_key(const LayerCache& cache, int64_t position, std::vector<float>& key) {
  if (cache.traits().keys == KeySpace::kRotated) return;
  std::vector<float> sin(kDim / 2), cos(kDim / 2);
  num::rope_table(cache.config().rope_steps, position, sin, cos);
  for (int head = 0; head < kHeads; ++head) {
    num::rope_rotate(std::span(key).subspan(static_cast<size_t>(head * kDim), kDim), sin, cos);
  }
}

}  // namespace

void attention_reads_what_reads_says(const Subject& subject) {
  const Make fresh = drawn(subject);
  const int64_t before = random_length();
  const int64_t count = *rc::gen::inRange<int64_t>(1, 20).as("queries");
  const Input input = random_input(subject, before + count);
  const auto cache = fresh();
  const SeqId seq = cache->open();
  test::append(*cache, seq, input.k, input.v, 0, before);
  const auto outputs = feed(*cache, seq, input, before, count);
  for (int64_t t = before; t < before + count; ++t) {
    std::array<std::map<int64_t, std::vector<float>>, 2> rows;  // by token, all heads
    for (const Side side : kSides) {
      for (const RowRange& range : cache->reads(seq, side, t)) {
        const Tensor part = test::read(*cache, seq, side, range);
        for (int64_t i = 0; i < range.count; ++i) {
          const float* row = part.view().row(i, 0);
          std::vector<float>& seen = rows[static_cast<size_t>(side)][range.first + i];
          seen.assign(row, row + kHeads * kDim);
          if (side == Side::kK) rotate_stored_key(*cache, range.first + i, seen);
        }
      }
    }
    RC_ASSERT(rows[0].size() == static_cast<size_t>(t + 1));
    for (int h = 0; h < kQueries; ++h) {
      const int head = h / (kQueries / kHeads);
      std::vector<num::AttentionRow> visible;
      for (const auto& [token, k] : rows[0]) {
        visible.push_back({token, k.data() + head * kDim, rows[1].at(token).data() + head * kDim});
      }
      std::vector<float> out(kDim);
      num::plain::attend({input.q.view().row(t, h), kDim}, visible, out);
      const auto first = outputs.begin() + ((t - before) * kQueries + h) * kDim;
      RC_ASSERT(test::patterns(out) == std::vector<uint32_t>(first, first + kDim));
    }
  }
}

}  // namespace kvx::laws
