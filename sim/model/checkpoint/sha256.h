// SHA-256 of data fed in pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace kvx::model {

class Sha256 {
 public:
  Sha256();
  ~Sha256();

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  void update(uint64_t value);  // as 8 little-endian bytes

  // Lower-case hex; the object takes no more data afterwards.
  std::string hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace kvx::model
