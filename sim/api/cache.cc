#include "sim/api/cache.h"

#include <numeric>
#include <stdexcept>

namespace kvx {

const char* item_name(Item item) {
  static constexpr const char* kNames[kItems] = {"codes", "scale",   "zero",  "outliers",
                                                 "exact", "padding", "tables"};
  return kNames[static_cast<size_t>(item)];
}

int64_t BlockCoder::bytes() const {
  int64_t total = 0;
  for (const Field& field : fields()) total += field.bytes;
  return total;
}

int64_t ByteCount::total() const { return std::accumulate(bytes.begin(), bytes.end(), int64_t{0}); }

ByteCount& ByteCount::operator+=(const ByteCount& other) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] += other.bytes[i];
  return *this;
}

AffineRows LayerCache::affine(SeqId, Side, int) const {
  throw std::logic_error("this cache has no content for arithmetic fixed");
}

}  // namespace kvx
