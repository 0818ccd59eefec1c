#include "gpu/cache/canonical.h"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

int dtype_bytes(const std::string& dtype) {
  return dtype == "U8" ? 1 : dtype == "F16" ? 2 : 4;  // F32, I32
}

void put_group(std::vector<std::byte>& to, const uint32_t* codes, int64_t stride, int count,
               int bits) {
  uint64_t stream = 0;
  int held = 0;
  for (int i = 0; i < count; ++i) {
    stream |= static_cast<uint64_t>(codes[i * stride]) << held;
    held += bits;
    if (held < 32 && i + 1 < count) continue;
    put_pattern(to, static_cast<uint32_t>(stream), 4);
    stream >>= 32;
    held -= 32;
  }
  if (held > 0) put_pattern(to, static_cast<uint32_t>(stream), 4);
}

}  // namespace

void put_pattern(std::vector<std::byte>& to, uint32_t pattern, int bytes) {
  for (int i = 0; i < bytes; ++i) to.push_back(static_cast<std::byte>(pattern >> (8 * i)));
}

Packing grouped_packing(const SideFormat& format, int dim, bool official) {
  Packing p;
  const int groups = format.along_tokens ? dim : dim / format.group;
  const int words = (format.group * format.bits + 31) / 32;
  const int code_bytes = (format.group * format.bits + 7) / 8;
  p.tokens = format.along_tokens ? format.group : 1;
  p.metadata = groups;
  p.bytes[Item::kCodes] = int64_t{groups} * code_bytes;
  p.bytes[Item::kPadding] = int64_t{groups} * (4 * words - code_bytes);
  p.bytes[Item::kScale] = int64_t{groups} * 2;
  p.scale_dtype = "F16";
  if (format.zero_bytes != 0) {
    p.bytes[Item::kZero] = int64_t{groups} * 2;
    p.zero_dtype = "F16";
  }
  if (official) {
    p.packed_dtype = "I32";
    p.lines = format.along_tokens ? dim : 1;
    p.line_words = format.along_tokens ? words : groups * words;
  }
  p.block = [format, dim, groups, tokens = p.tokens](const SealedHead& head, int64_t block) {
    std::vector<std::byte> bytes;
    const uint32_t* const codes = head.codes.data() + block * tokens * dim;
    for (int i = 0; i < groups; ++i)
      put_group(bytes, codes + (format.along_tokens ? i : i * format.group),
                format.along_tokens ? dim : 1, format.group, format.bits);
    for (int i = 0; i < groups; ++i)
      put_pattern(bytes, head.scale[static_cast<size_t>(block * groups + i)], 2);
    for (int i = 0; i < groups && format.zero_bytes != 0; ++i)
      put_pattern(bytes, head.zero[static_cast<size_t>(block * groups + i)], 2);
    return bytes;
  };
  return p;
}

void require_head_dim(int dim) {
  if (dim % 8 == 0 && dim <= 256) return;
  throw usage_error("head dim " + std::to_string(dim) +
                    ": CUDA kernels take multiples of 8 up to 256");
}

PagedScheme::PagedScheme(const Traits& traits, const CacheConfig& config, SideScheme k,
                         SideScheme v)
    : traits_(traits), shape_(config.shape), sides_{std::move(k), std::move(v)} {
  require_head_dim(shape_.head_dim);
  if (config.arithmetic != Arithmetic::kFixed) return;
  if (!sides_[0].affine || !sides_[1].affine)
    throw std::logic_error("arithmetic fixed for a scheme without");
  affine_ = {*sides_[0].affine, *sides_[1].affine};
}

ByteCount PagedScheme::used(Side side, int64_t length, int64_t) const {
  const SideScheme& s = of(side);
  const int64_t sealed = s.format.rule.sealed(static_cast<int32_t>(length));
  const int64_t blocks = sealed / s.packing.tokens * shape_.kv_heads;
  ByteCount count;
  for (size_t i = 0; i < count.bytes.size(); ++i)
    count.bytes[i] = s.packing.bytes.bytes[i] * blocks;
  count[Item::kExact] += (length - sealed) * shape_.kv_heads * shape_.head_dim * 2;
  count[Item::kTables] += static_cast<int64_t>(s.table.size() * sizeof(float));
  return count;
}

std::vector<std::byte> PagedScheme::table(Side side) const {
  const std::vector<float>& values = of(side).table;
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void PagedScheme::append_image(Side side, const std::vector<SealedHead>& heads,
                               std::vector<std::byte>& image) const {
  const Packing& packing = of(side).packing;
  for (const SealedHead& head : heads) {
    for (int64_t block = 0; block < head.tokens / packing.tokens; ++block) {
      const std::vector<std::byte> bytes = packing.block(head, block);
      image.insert(image.end(), bytes.begin(), bytes.end());
    }
  }
}

void PagedScheme::export_side(Side side, const std::vector<SealedHead>& heads, int64_t length,
                              const Sink& sink) const {
  const SideScheme& s = of(side);
  const Packing& packing = s.packing;
  const std::string prefix = std::string(side_name(side)) + ".";
  const auto head_count = static_cast<int64_t>(heads.size());
  const int64_t groups = length / packing.tokens;
  const int64_t blocks = heads.empty() ? 0 : heads[0].tokens / packing.tokens;
  if (!s.table.empty()) {
    sink(prefix + "scale", "F32", {static_cast<int64_t>(s.table.size())}, table(side));
  }
  if (packing.has_codes) {
    std::vector<std::byte> bytes;
    for (const SealedHead& head : heads) {
      for (const uint32_t code : head.codes) bytes.push_back(static_cast<std::byte>(code));
      bytes.resize(bytes.size() + static_cast<size_t>((length - head.tokens) * shape_.head_dim));
    }
    sink(prefix + "codes", "U8", {head_count, length, shape_.head_dim}, bytes);
  }
  // Unsealed groups are zeros.
  const auto metadata = [&](const std::string& name, const std::string& dtype, auto patterns) {
    if (dtype.empty()) return;
    std::vector<std::byte> bytes;
    for (const SealedHead& head : heads) {
      for (const uint32_t pattern : head.*patterns) put_pattern(bytes, pattern, dtype_bytes(dtype));
      bytes.resize(bytes.size() +
                   static_cast<size_t>((groups - blocks) * packing.metadata * dtype_bytes(dtype)));
    }
    sink(prefix + name, dtype, {head_count, groups, packing.metadata}, bytes);
  };
  metadata("scale", packing.scale_dtype, &SealedHead::scale);
  metadata("zero", packing.zero_dtype, &SealedHead::zero);
  if (packing.packed_dtype.empty()) return;

  const int64_t run = int64_t{packing.line_words} * dtype_bytes(packing.packed_dtype);
  std::vector<std::byte> bytes(static_cast<size_t>(head_count * packing.lines * blocks * run));
  for (int64_t h = 0; h < head_count; ++h) {
    for (int64_t b = 0; b < blocks; ++b) {
      const std::vector<std::byte> block = packing.block(heads[static_cast<size_t>(h)], b);
      for (int64_t line = 0; line < packing.lines; ++line)
        std::memcpy(bytes.data() + ((h * packing.lines + line) * blocks + b) * run,
                    block.data() + line * run, static_cast<size_t>(run));
    }
  }
  if (packing.tokens > 1) {
    sink(prefix + "packed", packing.packed_dtype,
         {head_count, packing.lines, blocks * packing.line_words}, bytes);
  } else {
    sink(prefix + "packed", packing.packed_dtype, {head_count, blocks, packing.line_words}, bytes);
  }
}

}  // namespace kvx::gpu
