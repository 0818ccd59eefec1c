// Named 64-bit hashes of results, printed one a line: what every build of the program must print
// alike.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace kvx::hash {

// FNV-1a over little-endian bytes; any NaN counts as 7fffffff (7fffffffffffffff).
class Hash {
 public:
  void add(uint8_t x) { add_bytes(x, 1); }
  void add(uint16_t x) { add_bytes(x, 2); }
  void add(uint32_t x) { add_bytes(x, 4); }
  void add(uint64_t x) { add_bytes(x, 8); }
  void add(int64_t x) { add(static_cast<uint64_t>(x)); }
  void add(float x) { add(std::isnan(x) ? 0x7fffffffu : std::bit_cast<uint32_t>(x)); }
  void add(double x) { add(std::isnan(x) ? 0x7fffffffffffffffu : std::bit_cast<uint64_t>(x)); }
  template <class T>
  void add(std::span<const T> values) {
    for (const T& value : values) add(value);
  }
  uint64_t value() const { return value_; }

 private:
  void add_bytes(uint64_t x, int count) {
    for (int i = 0; i < count; ++i) value_ = (value_ ^ ((x >> (8 * i)) & 0xFF)) * 0x100000001b3u;
  }

  uint64_t value_ = 0xcbf29ce484222325u;
};

class Report {
 public:
  void line(const std::string& name, const Hash& hash) {
    std::printf("%-24s %016llx\n", name.c_str(), static_cast<unsigned long long>(hash.value()));
    all_.add(hash.value());
  }
  // Call last.
  void total() { line("all", all_); }

 private:
  Hash all_;
};

}  // namespace kvx::hash
