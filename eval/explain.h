// One scheme for people and programs: policy, nominal and exact bits, byte layout.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "eval/number.h"
#include "sim/api/cache.h"
#include "sim/api/descriptor.h"

namespace kvx::eval {

// Rows of all heads that a layout may list: 128 k tokens of 8 heads.
inline constexpr int64_t kMaxLayoutRows = int64_t{1} << 20;

struct Explained {
  Descriptor scheme;
  CacheConfig config;
  int64_t length;
  std::unique_ptr<StoredCache> cache;
  std::vector<LayoutEntry> layout;
  std::array<ByteCount, 2> bytes;
  int64_t values;  // of one side
};

// The image of one layer that holds `length` tokens (normally distributed ones, where its size
// depends on them); length times KV heads is at most kMaxLayoutRows.
Explained explain(const Descriptor& scheme, const StoredCacheFactory& factory,
                  const CacheConfig& config, int64_t length);

// `whole`: as in layout_text.
std::string explain_text(const Explained& explained, bool whole);
Json explain_json(const Explained& explained);

}  // namespace kvx::eval
