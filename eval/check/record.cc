#include "eval/check/record.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "eval/tensor_diff.h"
#include "eval/tensor_file.h"

namespace kvx::check {
namespace {

constexpr const char* kNone = ": the subject shows none";

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// "head 1, token 33, channel 5"
std::string place(const std::vector<int64_t>& index, std::string_view axes) {
  std::string text;
  for (const int64_t at : index) {
    const size_t blank = std::min(axes.find(' '), axes.size());
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", axes.substr(0, blank), at);
    axes.remove_prefix(std::min(blank + 1, axes.size()));
  }
  return text;
}

// A dtype under which NaNs are bits like others.
std::string exact_dtype(const std::string& dtype) {
  if (dtype == "F32") return "U32";
  if (dtype == "F16" || dtype == "BF16") return "U16";
  return dtype;
}

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace

void Record::see(Level level, const std::string& name, const std::string& dtype,
                 const std::vector<int64_t>& shape, std::span<const std::byte> bytes, const char*) {
  things_[name] = {level, dtype, shape, {bytes.begin(), bytes.end()}};
}

std::optional<Thing> Record::take(const std::string& name) {
  auto node = things_.extract(name);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

void Comparison::see(Level level, const std::string& name, const std::string& dtype,
                     const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
                     const char* axes) {
  ++verdicts_[static_cast<size_t>(level)].compared;
  const std::optional<Thing> found = subject_.take(name);
  if (!found) return differ(level, name + kNone);
  if (found->dtype != dtype || found->shape != shape) {
    return differ(level,
                  fmt::format("{}: expected {}, found {}", name, eval::type_text(dtype, shape),
                              eval::type_text(found->dtype, found->shape)));
  }
  if (same_bytes(found->bytes, bytes)) return;
  if (dtype == "TEXT" || found->bytes.size() != bytes.size()) {
    return differ(level, dtype == "TEXT" ? fmt::format("{}: expected {}, found {}", name,
                                                       as_text(bytes), as_text(found->bytes))
                                         : fmt::format("{}: expected {} bytes, found {}", name,
                                                       bytes.size(), found->bytes.size()));
  }
  const std::string compared = level == Level::kE0 ? exact_dtype(dtype) : dtype;
  const auto difference =
      eval::first_difference({compared, shape, bytes}, {compared, shape, found->bytes});
  if (!difference) return;
  const bool poison = difference->found.find(fmt::format("0x{:08x}", kPoison)) != std::string::npos;
  differ(level, fmt::format("{}: {}: expected {}, found {}{}; {} values differ", name,
                            place(difference->index, axes), difference->expected, difference->found,
                            poison ? ", the poison: never written" : "", difference->count));
}

void Comparison::differ(Level level, const std::string& text) {
  LevelVerdict& verdict = verdicts_[static_cast<size_t>(level)];
  if (verdict.mismatches++ == 0) verdict.first = text;
}

std::array<LevelVerdict, kLevels> Comparison::finish() {
  for (const auto& [name, thing] : subject_.rest()) {
    LevelVerdict& verdict = verdicts_[static_cast<size_t>(thing.level)];
    ++verdict.compared;
    const bool words = thing.dtype == "TEXT";
    const std::string text =
        name + ": only the subject shows it" + (words ? ": " + as_text(thing.bytes) : "");
    // An error explains what is missing.
    if (words && verdict.first.ends_with(kNone)) verdict.first = text;
    differ(thing.level, text);
  }
  return verdicts_;
}

}  // namespace kvx::check
