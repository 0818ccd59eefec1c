// One layer's memory on the device made by hand: pages in no order, poison everywhere that nothing
// was stored, and a copy on the host that is read with the same view.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "gpu/cache/kernels.h"
#include "gpu/common/memory.h"

namespace kvx::test {

inline constexpr auto kPoison = std::byte{0xA5};

// Equality of patterns; prints the first mismatches and fails once.
class Compare {
 public:
  explicit Compare(std::string what) : what_(std::move(what)) {}
  ~Compare() {
    if (wrong_ > 0)
      ADD_FAILURE() << what_ << ": " << wrong_ << " of " << seen_ << " differ" << text_;
  }
  void operator()(uint64_t got, uint64_t expected, const std::string& where) {
    ++seen_;
    if (got == expected || ++wrong_ > 6) return;
    char line[80];
    std::snprintf(line, sizeof(line), ": got %llx, expected %llx",
                  static_cast<unsigned long long>(got), static_cast<unsigned long long>(expected));
    text_ += "\n  " + where + line;
  }
  bool good() const { return wrong_ == 0; }

 private:
  std::string what_, text_;
  int64_t seen_ = 0, wrong_ = 0;
};

// Little-endian field of `bits` bits at bit `at`.
inline uint32_t bit_field(const std::byte* from, int64_t at, int bits) {
  uint64_t bytes = 0;
  for (int64_t i = at / 8; i * 8 < at + bits; ++i)
    bytes |= std::to_integer<uint64_t>(from[i]) << (8 * (i - at / 8));
  return static_cast<uint32_t>(bytes >> (at % 8) & ((uint64_t{1} << bits) - 1));
}

class DeviceSide {
 public:
  DeviceSide(const gpu::SideFormat& format, const gpu::CacheShape& shape, int slots, int tokens) {
    view_.format = format;
    view_.shape = shape;
    view_.pages_per_slot = (tokens + shape.page_tokens - 1) / shape.page_tokens;
    const int64_t pages = int64_t{slots} * view_.pages_per_slot + 2;
    int64_t step = pages / 2 + 1;
    while (std::gcd(step, pages) != 1) ++step;
    for (int64_t i = 0; i < pages - 2; ++i)
      numbers_.push_back(static_cast<int32_t>((i * step + 1) % pages));
    pages_ = gpu::DeviceArray<int32_t>(pages);
    pages_.upload(numbers_);
    const int64_t per_head = pages * shape.kv_heads;
    codes_ = gpu::DeviceArray<std::byte>(per_head * shape.page_tokens *
                                         format.row_bytes(shape.head_dim));
    scale_ =
        gpu::DeviceArray<std::byte>(per_head * page_groups(format, shape) * format.scale_bytes);
    zero_ = gpu::DeviceArray<std::byte>(per_head * page_groups(format, shape) * format.zero_bytes);
    const int64_t rows = per_head * shape.page_tokens;
    marks_ = gpu::DeviceArray<uint8_t>(rows * format.mark_bytes(shape.head_dim));
    outliers_ = gpu::DeviceArray<uint16_t>(rows * format.outlier_bytes(shape.head_dim) / 2);
    ring_ = gpu::DeviceArray<uint16_t>(int64_t{slots} * shape.kv_heads * format.rule.ring_rows() *
                                       shape.head_dim);
    for (const auto* array : {&codes_, &scale_, &zero_}) poison(array->get(), array->bytes());
    poison(marks_.get(), marks_.bytes());
    poison(outliers_.get(), outliers_.bytes());
    poison(ring_.get(), ring_.bytes());
  }

  gpu::SideView device() const {
    gpu::SideView view = view_;
    view.codes = codes_.get();
    view.scale = scale_.get();
    view.zero = zero_.get();
    view.marks = marks_.get();
    view.outliers = outliers_.get();
    view.ring = ring_.get();
    view.pages = pages_.get();
    return view;
  }

  // Downloads everything; valid until the next call.
  gpu::SideView host() {
    const auto copy = [](const auto& array, auto& to) {
      to.resize(static_cast<size_t>(array.count()));
      if (!to.empty()) array.download(to);
      return to.data();
    };
    gpu::SideView view = view_;
    view.codes = copy(codes_, host_codes_);
    view.scale = copy(scale_, host_scale_);
    view.zero = copy(zero_, host_zero_);
    view.marks = copy(marks_, host_marks_);
    view.outliers = copy(outliers_, host_outliers_);
    view.ring = copy(ring_, host_ring_);
    view.pages = numbers_.data();
    return view;
  }

  // Sealed content of one head, `tokens` behind the sink, as it lies in the downloaded memory,
  // which becomes poison there.
  gpu::SealedHead take(const gpu::SideView& view, int slot, int head, int64_t tokens) {
    const gpu::SideFormat& f = view.format;
    const int dim = view.shape.head_dim;
    gpu::SealedHead content;
    content.tokens = tokens;
    content.dim = dim;
    const auto pattern = [](std::byte* array, int64_t at, int bytes) {
      uint32_t value = 0;
      for (int i = 0; i < bytes; ++i) {
        value |= std::to_integer<uint32_t>(array[at * bytes + i]) << (8 * i);
        array[at * bytes + i] = kPoison;
      }
      return value;
    };
    for (int32_t token = f.rule.sink; token < f.rule.sink + tokens; ++token) {
      std::byte* const row = view.row(slot, head, token);
      for (int c = 0; c < dim; ++c)
        content.codes.push_back(bit_field(row, int64_t{c} * f.bits, f.bits));
      std::fill_n(row, f.row_bytes(dim), kPoison);
      if (f.sparse) take_outliers(view, view.row_of(slot, head, token), content);
      if (f.along_tokens && token % f.group != 0) continue;
      for (int c = 0; c < dim; c += f.along_tokens ? 1 : f.group) {
        const int64_t at = view.group_of(slot, head, token, c);
        if (f.scale_bytes != 0) content.scale.push_back(pattern(view.scale, at, f.scale_bytes));
        if (f.zero_bytes != 0) content.zero.push_back(pattern(view.zero, at, f.zero_bytes));
      }
    }
    return content;
  }

  // Nothing was written but what was taken.
  bool only_poison_left() const {
    for (const auto* bytes : {&host_codes_, &host_scale_, &host_zero_})
      for (const std::byte byte : *bytes)
        if (byte != kPoison) return false;
    for (const uint8_t byte : host_marks_)
      if (std::byte{byte} != kPoison) return false;
    for (const uint16_t pattern : host_outliers_)
      if (pattern != kPoisonPair) return false;
    return true;
  }

 private:
  static constexpr uint16_t kPoisonPair = std::to_integer<uint16_t>(kPoison) * 0x101;

  static void take_outliers(const gpu::SideView& view, int64_t row, gpu::SealedHead& content) {
    const int64_t dim = view.shape.head_dim;
    for (int64_t c = 0; c < dim; ++c) {
      const auto marked = static_cast<uint8_t>(view.marks[(row * dim + c) / 8] >> (c % 8) & 1);
      content.marks.push_back(marked);
      content.outliers.push_back(marked != 0 ? view.outliers[row * dim + c] : uint16_t{0});
      if (marked != 0) view.outliers[row * dim + c] = kPoisonPair;
    }
    std::fill_n(view.marks + row * dim / 8, dim / 8, std::to_integer<uint8_t>(kPoison));
  }

  static void poison(void* data, int64_t bytes) {
    if (bytes > 0)
      gpu::check(cudaMemset(data, std::to_integer<int>(kPoison), static_cast<size_t>(bytes)),
                 "poison");
  }

  gpu::SideView view_;
  std::vector<int32_t> numbers_;
  gpu::DeviceArray<int32_t> pages_;
  gpu::DeviceArray<std::byte> codes_, scale_, zero_;
  gpu::DeviceArray<uint8_t> marks_;
  gpu::DeviceArray<uint16_t> outliers_;
  gpu::DeviceArray<uint16_t> ring_;
  std::vector<std::byte> host_codes_, host_scale_, host_zero_;
  std::vector<uint8_t> host_marks_;
  std::vector<uint16_t> host_outliers_, host_ring_;
};

}  // namespace kvx::test
