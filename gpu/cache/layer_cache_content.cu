// DeviceLayerCache: the bytes of a sequence and its canonical tensors.
#include <algorithm>
#include <cstring>

#include "gpu/cache/layer_cache.h"

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

}  // namespace

std::vector<SealedHead> DeviceLayerCache::sealed_heads(SeqId seq, Side side) const {
  const SideView view = pool_->view(layer_, side);
  const SideFormat& f = view.format;
  const int32_t sealed = f.rule.sealed(pool_->length(seq));
  const int heads = shape().kv_heads, dim = shape().head_dim;
  const int32_t page_tokens = shape().page_tokens;
  const int64_t row_bytes = f.row_bytes(dim), groups = page_groups(f, shape());
  std::vector<SealedHead> all(static_cast<size_t>(heads));
  for (SealedHead& head : all) head.tokens = sealed, head.dim = dim;
  std::vector<std::byte> codes, scale, zero;
  const auto download = [&](const std::byte* data, int32_t page, int64_t bytes,
                            std::vector<std::byte>& to) {
    to.resize(static_cast<size_t>(bytes));
    if (bytes == 0) return;
    check(
        cudaMemcpyAsync(to.data(), data + page * bytes, to.size(), cudaMemcpyDeviceToHost, stream_),
        "copy of a cache page");
  };
  const auto pages = pool_->pages().pages(seq);
  for (int32_t first = 0; first < sealed; first += page_tokens) {
    const int32_t page = pages[static_cast<size_t>(first / page_tokens)];
    download(view.codes, page, heads * page_tokens * row_bytes, codes);
    download(view.scale, page, heads * groups * f.scale_bytes, scale);
    download(view.zero, page, heads * groups * f.zero_bytes, zero);
    check(cudaStreamSynchronize(stream_), "copy of a cache page");
    const int32_t tokens = std::min(page_tokens, sealed - first);
    const int64_t used =
        f.along_tokens ? int64_t{tokens} / f.group * dim : int64_t{tokens} * (dim / f.group);
    for (int h = 0; h < heads; ++h) {
      SealedHead& head = all[static_cast<size_t>(h)];
      for (int32_t token = 0; token < tokens; ++token) {
        const std::byte* row =
            &codes[static_cast<size_t>((int64_t{h} * page_tokens + token) * row_bytes)];
        for (int i = 0; i < dim; ++i) head.codes.push_back(code_of(row, f.bits, i));
      }
      if (f.scale_bytes > 0) add_patterns(scale, h * groups, used, f.scale_bytes, head.scale);
      if (f.zero_bytes > 0) add_patterns(zero, h * groups, used, f.zero_bytes, head.zero);
    }
  }
  return all;
}

ByteCount DeviceLayerCache::used(SeqId seq, Side side) const {
  return kernels().used(side, pool_->length(seq));
}

std::vector<std::byte> DeviceLayerCache::image(SeqId seq) const {
  const int32_t length = pool_->length(seq);
  std::vector<std::byte> image;
  for (const Side side : kSides) {
    const auto table = kernels().table(side);
    image.insert(image.end(), table.begin(), table.end());
    for (const SealedHead& head : sealed_heads(seq, side)) {
      kernels().append_image(side, head, image);
    }
    const int32_t sealed = rule(side).sealed(length);
    const int32_t rows = length - sealed;
    const auto exact = exact_rows(seq, side, sealed, rows, nullptr);
    for (int head = 0; head < shape().kv_heads; ++head) {
      for (int32_t row = 0; row < rows; ++row) {
        const int64_t at = (int64_t{row} * shape().kv_heads + head) * shape().head_dim;
        const auto bytes = std::as_bytes(std::span(exact).subspan(
            static_cast<size_t>(at), static_cast<size_t>(shape().head_dim)));
        image.insert(image.end(), bytes.begin(), bytes.end());
      }
    }
  }
  return image;
}

void DeviceLayerCache::export_to(SeqId seq, const Sink& sink) const {
  const int64_t length = pool_->length(seq);
  const int64_t heads = shape().kv_heads, dim = shape().head_dim;
  for (const Side side : kSides) {
    const std::string prefix = std::string(side_name(side)) + ".";
    kernels().export_side(side, sealed_heads(seq, side), length, sink);
    std::vector<float> decoded(static_cast<size_t>(heads * length * dim));
    std::vector<uint8_t> sealed(static_cast<size_t>(heads * length));
    const Rows rows{decoded.data(),        length, static_cast<int>(heads),
                    static_cast<int>(dim), dim,    length * dim};
    for (const RowRange& range : held(seq, side)) {
      read(seq, side, range, rows.slice(range.first, range.count));
      if (range.held == Held::kExact) continue;
      for (int64_t head = 0; head < heads; ++head) {
        std::fill_n(sealed.begin() + head * length + range.first, range.count, uint8_t{1});
      }
    }
    sink(prefix + "decoded", "F32", {heads, length, dim}, std::as_bytes(std::span(decoded)));
    sink(prefix + "sealed", "U8", {heads, length}, std::as_bytes(std::span(sealed)));
  }
}

}  // namespace kvx::gpu
