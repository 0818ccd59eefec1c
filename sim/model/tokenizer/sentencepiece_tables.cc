#include "sim/model/tokenizer/sentencepiece_tables.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {
namespace {

// Fields of sentencepiece_model.proto.
constexpr uint64_t kNormalizerSpec = 3;
constexpr uint64_t kDenormalizerSpec = 5;
constexpr uint64_t kPrecompiledCharsMap = 2;

class WireReader {
 public:
  WireReader(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  // Calls `visit(field, content)` for every length-delimited field and skips the others.
  void for_each_bytes(const std::function<void(uint64_t, std::string_view)>& visit) {
    while (at_ < bytes_.size()) {
      const uint64_t tag = varint();
      switch (tag & 7) {
        case 0:
          varint();
          break;
        case 1:
          take(8);
          break;
        case 2:
          visit(tag >> 3, take(varint()));
          break;
        case 5:
          take(4);
          break;
        default:
          throw broken();
      }
    }
  }

 private:
  Error broken() const {
    return file_error(file_, fmt::format("is no sentencepiece model: wrong field at byte {} of {}",
                                         at_, bytes_.size()));
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    throw broken();
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) throw broken();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }

  std::string_view bytes_;
  const std::string& file_;
  size_t at_ = 0;
};

// A node of a double array as darts-clone packs it.
struct Unit {
  uint32_t bits;
  bool has_leaf() const { return (bits >> 8 & 1) != 0; }
  uint32_t value() const { return bits & 0x7FFFFFFF; }
  uint32_t label() const { return bits & 0x800000FF; }
  uint32_t offset() const { return bits >> 10 << ((bits & 0x200) >> 6); }
};

class CharsMap {
 public:
  explicit CharsMap(std::string_view blob) {
    uint32_t size = 0;
    if (blob.size() < sizeof size) return;
    std::memcpy(&size, blob.data(), sizeof size);
    blob.remove_prefix(sizeof size);
    if (size >= blob.size() || size % sizeof(Unit) != 0 || size < sizeof(Unit)) return;
    units_.resize(size / sizeof(Unit));
    std::memcpy(units_.data(), blob.data(), size);
    texts_ = blob.substr(size);
  }

  // Every state that some text can lead to stays within the array, for any next byte, and every
  // value is the begin of a text.
  bool is_sound() const {
    if (units_.empty() || texts_.back() != '\0' ||
        find_invalid_utf8(texts_) != std::string_view::npos) {
      return false;
    }
    std::vector<bool> seen(units_.size());
    std::vector<size_t> states = {units_[0].offset()};
    while (!states.empty()) {
      const size_t state = states.back();
      states.pop_back();
      if ((state | 0xFF) >= units_.size()) return false;
      for (size_t byte = 0; byte < 256; ++byte) {
        const size_t at = state ^ byte;
        const Unit unit = units_[at];
        if (unit.label() != byte || seen[at]) continue;
        seen[at] = true;
        const size_t next = at ^ unit.offset();
        if (next >= units_.size() || (unit.has_leaf() && !is_text(units_[next].value())))
          return false;
        states.push_back(next);
      }
    }
    return true;
  }

 private:
  bool is_text(size_t value) const {
    return value < texts_.size() && (static_cast<unsigned char>(texts_[value]) & 0xC0) != 0x80;
  }

  std::vector<Unit> units_;
  std::string_view texts_;
};

}  // namespace

void check_normalisation_tables(std::string_view model_proto, const std::string& file) {
  WireReader(model_proto, file).for_each_bytes([&](uint64_t field, std::string_view spec) {
    if (field != kNormalizerSpec && field != kDenormalizerSpec) return;
    WireReader(spec, file).for_each_bytes([&](uint64_t key, std::string_view blob) {
      if (key != kPrecompiledCharsMap || blob.empty()) return;
      if (!CharsMap(blob).is_sound()) {
        throw file_error(file, "field 'precompiled_charsmap' is no table of normalisation rules");
      }
    });
  });
}

}  // namespace kvx::model
