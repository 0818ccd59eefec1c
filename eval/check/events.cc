#include "eval/check/events.h"

#include <fmt/core.h>

#include <cstdio>

#include "sim/api/error.h"

namespace kvx::check {
namespace {

constexpr const char* kNames[kEvents] = {
    "tie",
    "constant-group",
    "zero-group",
    "mixed-zeros",
    "negative-zero",
    "clamp",
    "flush",
    "subnormal-input",
    "subnormal-scale",
    "subnormal-code",
    "overflow",
    "input-tie",
    "input-overflow",
    "non-finite-input",
    "padded-group",
    "fused",
    "outlier",
    "at-threshold",
    "tied-outliers",
    "decode-seals",
    "prefill-seals",
    "exact-rows",
    "sink",
    "late-seal",
    "early-seal",
    "one-side-open",
    "segments",
    "grouped-heads",
    "wide-scores",
    "batch",
    "fork",
    "cut",
    "cut-refused",
    "refused",
    "tiles",
    "tile-segments",
    "spans",
    "score-clamp",
    "later-maximum",
    "far-weight",
    "key-floor",
    "value-floor",
    "exact-tile",
    "exact-keys",
    "exact-values",
};

// The last token that the text of ranges says is sealed, and 1; 0 where none is.
int64_t sealed_tokens(std::string_view text) {
  long long first = 0, end = 0, sealed = 0;
  char word[8] = {};
  int length = 0;
  for (std::string rest(text);
       std::sscanf(rest.c_str(), "[%lld, %lld) %7s %n", &first, &end, word, &length) == 3;
       rest.erase(0, static_cast<size_t>(length))) {
    if (std::string_view(word) == "sealed") sealed = end;
  }
  return sealed;
}

}  // namespace

const char* event_name(Event event) { return kNames[static_cast<size_t>(event)]; }

Events parse_events(const std::vector<std::string>& names) {
  Events events;
  for (const std::string& name : names) {
    int at = 0;
    while (at < kEvents && name != kNames[at]) ++at;
    if (at == kEvents) {
      std::string known;
      for (const char* one : kNames) known += std::string(known.empty() ? "" : ", ") + one;
      throw usage_error(fmt::format("unknown event '{}'; known: {}", name, known));
    }
    events.set(static_cast<size_t>(at));
  }
  return events;
}

std::vector<std::string> event_names(const Events& events) {
  std::vector<std::string> names;
  for (int i = 0; i < kEvents; ++i)
    if (events.test(static_cast<size_t>(i))) names.emplace_back(kNames[i]);
  return names;
}

std::string events_text(const Events& events) {
  std::string text;
  for (const std::string& name : event_names(events)) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Names are "step N WHAT" or "step N seq S WHAT".
void EventWatch::see(Level, const std::string& name, const std::string& dtype,
                     const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
                     const char*) {
  unsigned long step = 0, seq = 0;
  int end = 0;
  const std::string text(reinterpret_cast<const char*>(bytes.data()),
                         dtype == "TEXT" ? bytes.size() : 0);
  if (std::sscanf(name.c_str(), "step %lu seq %lu %n", &step, &seq, &end) < 2 || end == 0) {
    if (name.ends_with(" append")) set(Event::kRefused);
    return;
  }
  const std::string what = name.substr(static_cast<size_t>(end));
  if (what == "cut") set(Event::kCutRefused);
  if (seq != 0) return;
  const std::string side = what.substr(0, 1);
  if (what.starts_with(side + ".reads of ")) read_sealed_[side] = sealed_tokens(text);
  if (what == side + ".held") {
    const int64_t before = sealed_[side], now = sealed_tokens(text);
    sealed_[side] = now;
    const Step& at = one_.steps[step];
    if (at.kind == Step::kAppend && now > before) {
      set(at.count == 1 ? Event::kDecodeSeals : Event::kPrefillSeals);
      // The last query asked for is the append's last.
      set(read_sealed_[side] < now ? Event::kLateSeal : Event::kEarlySeal);
    }
    if (text.find("exact") != std::string::npos) set(Event::kExactRows);
    if (text.starts_with("[0, ") && text.find(") exact [") != std::string::npos) set(Event::kSink);
    if (side == "v" && (sealed_["k"] == 0) != (now == 0)) set(Event::kEmptyGroupSide);
  }
  if (what.starts_with(side + ".") && dtype != "TEXT" && dtype != "I64" &&
      what.find(' ') == what.npos)
    content_[what] = {Level::kE0, dtype, shape, {bytes.begin(), bytes.end()}};
}

Events EventWatch::finish() {
  if (one_.tokens() > 256) set(Event::kSegments);
  if (one_.q_heads > one_.kv_heads) set(Event::kGroupedHeads);
  if (one_.q == gen::Fill::kF16Extreme || one_.q == gen::Fill::kHeavy) set(Event::kWideScores);
  if (one_.batch > 1) set(Event::kBatch);
  for (const Step& step : one_.steps) {
    if (step.kind == Step::kFork) set(Event::kFork);
    if (step.kind == Step::kCut) set(Event::kCut);
  }
  if (one_.arithmetic == Arithmetic::kFixed)
    events_ |= fixed_events(one_, inputs_, content_, read_sealed_["k"], read_sealed_["v"]);
  return events_ | value_events(one_, inputs_, content_);
}

}  // namespace kvx::check
