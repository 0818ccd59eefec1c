// What a cache showed while a case was played, thing by thing: the subject's is kept, the
// reference's is compared with it as it comes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvx::check {

enum class Level : uint8_t {
  kE0,  // stored content: canonical tensors, image, counts, what is held and read
  kE1,  // decoded and exact values
  kE2   // attention outputs
};
inline constexpr int kLevels = 3;
inline const char* level_name(Level level) {
  constexpr const char* kNames[] = {"E0", "E1", "E2"};
  return kNames[static_cast<size_t>(level)];
}

// A tensor (little-endian, dtype as safetensors spells it), or words (dtype "TEXT", no shape).
struct Thing {
  Level level = Level::kE0;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

class Recorder {
 public:
  virtual ~Recorder() = default;
  // Every name comes once. `axes` are the names of the shape's dimensions, separated by blanks.
  virtual void see(Level level, const std::string& name, const std::string& dtype,
                   const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
                   const char* axes) = 0;
  // From an observer's point of view: whether words or content of this name are worth making.
  void see_text(Level level, const std::string& name, const std::string& text) {
    see(level, name, "TEXT", {}, std::as_bytes(std::span(text)), "");
  }
};

class Record final : public Recorder {
 public:
  void see(Level level, const std::string& name, const std::string& dtype,
           const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
           const char* axes) override;

  // Takes the thing out.
  std::optional<Thing> take(const std::string& name);
  const std::map<std::string, Thing>& rest() const { return things_; }

 private:
  std::map<std::string, Thing> things_;
};

struct LevelVerdict {
  int64_t compared = 0;    // things
  int64_t mismatches = 0;  // things that differ, are missing or too many
  std::string first;       // the first difference, in words
};

// Compares what it sees, the reference's, with the subject's record: bits; in values (E1, E2) any
// NaN equals any NaN.
class Comparison final : public Recorder {
 public:
  explicit Comparison(Record subject) : subject_(std::move(subject)) {}

  void see(Level level, const std::string& name, const std::string& dtype,
           const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
           const char* axes) override;

  // After the last thing: what the subject showed besides counts against it.
  std::array<LevelVerdict, kLevels> finish();

 private:
  void differ(Level level, const std::string& text);

  Record subject_;
  std::array<LevelVerdict, kLevels> verdicts_;
};

// What outputs hold before they are written: a finite number that no cache is likely to return.
inline constexpr uint32_t kPoison = 0x7E5EED5Au;

}  // namespace kvx::check
