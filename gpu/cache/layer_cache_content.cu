// DeviceLayerCache: the bytes of a sequence and its canonical tensors.
#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "gpu/cache/layer_cache.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::gpu {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};

// Code i of a row: bits [bits * i, bits * (i + 1)), little-endian.
uint32_t code_of(const std::byte* row, int bits, int i) {
  const int first = bits * i / 8, last = (bits * (i + 1) - 1) / 8;
  uint64_t word = 0;
  for (int byte = last; byte >= first; --byte) {
    word = word << 8 | std::to_integer<uint64_t>(row[byte]);
  }
  return static_cast<uint32_t>(word >> (bits * i % 8) & ((uint64_t{1} << bits) - 1));
}

void add_patterns(const std::vector<std::byte>& page, int64_t first, int64_t count, int width,
                  std::vector<uint32_t>& to) {
  for (int64_t i = first; i < first + count; ++i) {
    uint32_t pattern = 0;
    std::memcpy(&pattern, &page[static_cast<size_t>(i * width)], static_cast<size_t>(width));
    to.push_back(pattern);
  }
}

// Values [first, first + count) of a page: whether each is marked, and its pattern if it is.
void add_outliers(const std::vector<std::byte>& marks, const std::vector<std::byte>& values,
                  int64_t first, int count, SealedHead& to) {
  for (int64_t i = first; i < first + count; ++i) {
    const auto byte = std::to_integer<uint32_t>(marks[static_cast<size_t>(i / 8)]);
    const auto marked = static_cast<uint8_t>(byte >> (i % 8) & 1u);
    uint16_t pattern = 0;
    if (marked != 0) std::memcpy(&pattern, &values[static_cast<size_t>(2 * i)], sizeof(pattern));
    to.marks.push_back(marked);
    to.outliers.push_back(pattern);
  }
}

}  // namespace

std::vector<SealedHead> DeviceLayerCache::sealed_heads(SeqId seq, Side side, int32_t length) const {
  const SideView view = pool_->view(layer_, side);
  const SideFormat& f = view.format;
  const int32_t sealed = f.rule.sealed(length);
  const int heads = shape().kv_heads, dim = shape().head_dim;
  const int32_t page_tokens = shape().page_tokens;
  const int64_t rows = int64_t{heads} * page_tokens;
  const int64_t row_bytes = f.row_bytes(dim), groups = page_groups(f, shape());
  std::vector<SealedHead> all(static_cast<size_t>(heads));
  for (SealedHead& head : all) head.tokens = std::max(0, sealed - f.rule.sink), head.dim = dim;
  std::vector<std::byte> codes, scale, zero, marks, outliers;
  const auto download = [&](const void* data, int32_t page, int64_t bytes,
                            std::vector<std::byte>& to) {
    to.resize(static_cast<size_t>(bytes));
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to.data(), static_cast<const std::byte*>(data) + page * bytes, to.size(),
                          cudaMemcpyDeviceToHost, stream_),
          "copy of a cache page");
  };
  const auto pages = pool_->pages().pages(seq);
  for (int32_t first = 0; first < sealed; first += page_tokens) {
    const int32_t page = pages[static_cast<size_t>(first / page_tokens)];
    download(view.codes, page, rows * row_bytes, codes);
    download(view.scale, page, heads * groups * f.scale_bytes, scale);
    download(view.zero, page, heads * groups * f.zero_bytes, zero);
    download(view.marks, page, rows * f.mark_bytes(dim), marks);
    download(view.outliers, page, rows * f.outlier_bytes(dim), outliers);
    check(cudaStreamSynchronize(stream_), "copy of a cache page");
    const int32_t tokens = std::min(page_tokens, sealed - first);
    const int32_t begin = std::clamp(f.rule.sink - first, 0, tokens);  // behind the sink
    const int64_t per_unit = f.along_tokens ? dim : dim / f.group;
    const int64_t units = f.along_tokens ? tokens / f.group : tokens;
    for (int h = 0; h < heads; ++h) {
      SealedHead& head = all[static_cast<size_t>(h)];
      for (int32_t token = begin; token < tokens; ++token) {
        const int64_t row = int64_t{h} * page_tokens + token;
        const std::byte* from = &codes[static_cast<size_t>(row * row_bytes)];
        for (int i = 0; i < dim; ++i) head.codes.push_back(code_of(from, f.bits, i));
        if (f.sparse) add_outliers(marks, outliers, row * dim, dim, head);
      }
      const int64_t at = h * groups + begin * per_unit, used = (units - begin) * per_unit;
      if (f.scale_bytes > 0) add_patterns(scale, at, used, f.scale_bytes, head.scale);
      if (f.zero_bytes > 0) add_patterns(zero, at, used, f.zero_bytes, head.zero);
    }
  }
  return all;
}

// The first group that an append made with a scale that is not finite: by sequence, K before V,
// then by block, head and group.
void DeviceLayerCache::refuse_scale(Run run) const {
  for (const Pending& rows : run) {
    const int32_t first = rows.span.first, length = first + rows.span.count;
    for (const Side side : kSides) {
      const SideFormat& f = kernels().format(side);
      const std::vector<SealedHead> heads = sealed_heads(rows.seq, side, length);
      const int block = f.along_tokens ? f.group : 1, width = f.along_tokens ? 1 : f.group;
      const int groups = shape().head_dim / width;
      for (int32_t token = f.rule.sealed(first); token < f.rule.sealed(length); token += block) {
        for (size_t head = 0; head < heads.size(); ++head) {
          for (int group = 0; group < groups; ++group) {
            const auto at = static_cast<size_t>(token / block * groups + group);
            if ((heads[head].scale[at] & 0x7C00u) != 0x7C00u) continue;
            throw infinite_scale(config().shape.layer, side, static_cast<int64_t>(head), token,
                                 group * width);
          }
        }
      }
    }
  }
  throw std::logic_error("append: a scale that no span of the pass made");
}

int64_t DeviceLayerCache::outliers(SeqId seq, Side side) const {
  const SideView view = pool_->view(layer_, side);
  if (!view.format.sparse) return 0;
  const int32_t sealed = rule(side).sealed(pool_->length(seq)), page_tokens = shape().page_tokens;
  const int64_t row_bytes = view.format.mark_bytes(shape().head_dim);
  const int64_t page_bytes = shape().kv_heads * page_tokens * row_bytes;
  const auto pages = pool_->pages().pages(seq);
  std::vector<uint8_t> marks(pages.size() * static_cast<size_t>(page_bytes));
  for (size_t i = 0; i < pages.size(); ++i) {
    check(cudaMemcpyAsync(&marks[i * static_cast<size_t>(page_bytes)],
                          view.marks + pages[i] * page_bytes, static_cast<size_t>(page_bytes),
                          cudaMemcpyDeviceToHost, stream_),
          "copy of a cache page");
  }
  check(cudaStreamSynchronize(stream_), "copy of a cache page");
  int64_t count = 0;
  for (int head = 0; head < shape().kv_heads; ++head) {
    for (int32_t token = rule(side).sink; token < sealed; ++token) {
      const int64_t row = int64_t{head} * page_tokens + token % page_tokens;
      const uint8_t* from =
          &marks[static_cast<size_t>(token / page_tokens * page_bytes + row * row_bytes)];
      for (int64_t i = 0; i < row_bytes; ++i) count += std::popcount(from[i]);
    }
  }
  return count;
}

ByteCount DeviceLayerCache::used(SeqId seq, Side side) const {
  return kernels().used(side, pool_->length(seq), outliers(seq, side));
}

std::vector<std::byte> DeviceLayerCache::image(SeqId seq) const {
  const int32_t length = pool_->length(seq);
  std::vector<std::byte> image;
  for (const Side side : kSides) {
    const auto table = kernels().table(side);
    image.insert(image.end(), table.begin(), table.end());
    kernels().append_image(side, sealed_heads(seq, side, pool_->length(seq)), image);
    for (const RowRange& range : held(seq, side)) {
      if (range.held == Held::kSealed) continue;
      const auto exact = exact_rows(seq, side, static_cast<int32_t>(range.first),
                                    static_cast<int32_t>(range.count), nullptr);
      for (int head = 0; head < shape().kv_heads; ++head) {
        for (int64_t row = 0; row < range.count; ++row) {
          const int64_t at = (row * shape().kv_heads + head) * shape().head_dim;
          const auto bytes = std::as_bytes(std::span(exact).subspan(
              static_cast<size_t>(at), static_cast<size_t>(shape().head_dim)));
          image.insert(image.end(), bytes.begin(), bytes.end());
        }
      }
    }
  }
  return image;
}

void DeviceLayerCache::export_values(SeqId seq, Side side, const std::string& name, bool unrounded,
                                     const Sink& sink) const {
  const int64_t length = pool_->length(seq);
  const int64_t heads = shape().kv_heads, dim = shape().head_dim;
  std::vector<float> values(static_cast<size_t>(heads * length * dim));
  const Rows rows{values.data(),         length, static_cast<int>(heads),
                  static_cast<int>(dim), dim,    length * dim};
  for (const RowRange& range : held(seq, side))
    read(seq, side, range, unrounded, rows.slice(range.first, range.count));
  sink(name, "F32", {heads, length, dim}, std::as_bytes(std::span(values)));
}

void DeviceLayerCache::export_to(SeqId seq, const Sink& sink) const {
  const int64_t length = pool_->length(seq), heads = shape().kv_heads;
  for (const Side side : kSides) {
    const std::string prefix = std::string(side_name(side)) + ".";
    kernels().export_side(side, sealed_heads(seq, side, pool_->length(seq)), length, sink);
    export_values(seq, side, prefix + "decoded", false, sink);
    if (kernels().exports_unrounded())
      export_values(seq, side, prefix + "decoded_fp32", true, sink);
    std::vector<uint8_t> sealed(static_cast<size_t>(heads * length));
    for (const RowRange& range : held(seq, side)) {
      if (range.held == Held::kExact) continue;
      for (int64_t head = 0; head < heads; ++head)
        std::fill_n(sealed.begin() + head * length + range.first, range.count, uint8_t{1});
    }
    sink(prefix + "sealed", "U8", {heads, length}, std::as_bytes(std::span(sealed)));
  }
}

}  // namespace kvx::gpu
