// kvquant::Cache::restore: the way back from an image, which may be anybody's.
#include <bit>
#include <cstring>
#include <utility>

#include "ref/cache/elements.h"
#include "ref/kvquant/cache.h"
#include "sim/num/formats.h"
#include "sim/num/pack.h"

namespace kvx::ref::kvquant {

// Takes an image apart; an environment Error where it ends too early.
class Cache::Reader {
 public:
  Reader(std::span<const std::byte> image, int64_t length) : rest_(image), length_(length) {}

  Error wrong(const std::string& why) const {
    return environment_error("image for " + std::to_string(length_) + " tokens: " + why);
  }
  std::span<const std::byte> bytes(int64_t count) {
    if (std::cmp_greater(count, rest_.size())) {
      throw wrong(std::to_string(count - static_cast<int64_t>(rest_.size())) +
                  " bytes are missing");
    }
    const auto taken = rest_.first(static_cast<size_t>(count));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  template <class T>
  std::vector<T> values(int64_t count) {
    const auto from = bytes(count * static_cast<int64_t>(sizeof(T)));
    std::vector<T> to(static_cast<size_t>(count));
    if (!to.empty()) std::memcpy(to.data(), from.data(), from.size());
    return to;
  }
  template <class T>
  void table(const std::vector<T>& expected, const std::string& name) {
    if (values<T>(static_cast<int64_t>(expected.size())) != expected) {
      throw wrong("another table " + name + " than this cache's");
    }
  }
  void end() const {
    if (!rest_.empty()) throw wrong(std::to_string(rest_.size()) + " bytes too many");
  }

 private:
  std::span<const std::byte> rest_;
  int64_t length_;
};

void Cache::read_side(Side side, int64_t length, Reader& in, Store& to) const {
  const SideTables& tables = coder(side).tables();
  const std::string prefix = std::string(side_name(side)) + ".";
  const int64_t d = channels(), dim = config_.shape.head_dim;
  const int64_t coded = coded_tokens(length), sink = sink_tokens(length);
  if (settings_.type == Type::kNuq) in.table(tables.codebook, prefix + "codebook");
  in.table(tables.qnorm, prefix + "qnorm");
  in.table(tables.lo, prefix + "lo");
  in.table(tables.hi, prefix + "hi");
  const auto words = in.values<uint32_t>(config_.shape.kv_heads * coded * row_words());
  to.codes.resize(static_cast<size_t>(coded * d));
  std::span rest(words);
  for (int64_t at = 0; at < d; at += dim) {
    for (int64_t row = at; row < coded * d; row += d) {
      num::unpack_codes(
          rest.first(static_cast<size_t>(row_words())), settings_.bits,
          std::span(to.codes).subspan(static_cast<size_t>(row), static_cast<size_t>(dim)));
      rest = rest.subspan(static_cast<size_t>(row_words()));
    }
  }
  if (per_token(side)) {
    to.lo = in.values<uint16_t>(coded);
    to.hi = in.values<uint16_t>(coded);
  }
  if (has_starts(side)) {
    to.starts = in.values<uint32_t>(coded + 1);
  } else {
    const int64_t each = 2 * outliers_per_side(settings_, d);
    for (int64_t t = 1; t <= coded; ++t) to.starts.push_back(static_cast<uint32_t>(t * each));
  }
  check_starts(to.starts, [&](const std::string& why) { return in.wrong(prefix + why); });
  for (int64_t i = 0; i < to.starts.back(); ++i) {
    if (settings_.paper) {
      const auto entry = in.values<uint16_t>(2);
      to.outliers.push_back({entry[0], num::f16_decode(entry[1])});
    } else {
      const auto entry = in.values<uint32_t>(2);
      to.outliers.push_back({entry[0], std::bit_cast<float>(entry[1])});
    }
  }
  check_channels(to, [&](const std::string& why) { return in.wrong(prefix + why); });
  to.sink.resize(static_cast<size_t>(sink * d));
  const auto exact = in.bytes(2 * sink * d);
  const std::byte* from = exact.data();
  for (int64_t at = 0; at < d; at += dim) {
    for (int64_t row = at; row < sink * d; row += d, from += 2 * dim) {
      load_elements(InputType::kF16, from,
                    std::span(to.sink).subspan(static_cast<size_t>(row), static_cast<size_t>(dim)));
    }
  }
}

SeqId Cache::restore(int64_t length, std::span<const std::byte> image) {
  Reader in(image, length);
  // A token takes more than one bit of an image, so that no product overflows.
  if (length < 0 || length / 8 > static_cast<int64_t>(image.size())) {
    throw in.wrong("it has " + std::to_string(image.size()) + " bytes");
  }
  Sequence sequence;
  sequence.length = length;
  sequence.last_append = length;
  for (const Side side : kSides) {
    read_side(side, length, in, sequence.sides[static_cast<size_t>(side)]);
  }
  in.end();
  return add(std::move(sequence));
}

}  // namespace kvx::ref::kvquant
