#include "eval/check/kvquant_events.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <vector>

#include "sim/api/descriptor.h"
#include "sim/num/formats.h"

namespace kvx::check {
namespace {

template <class T>
std::vector<T> values(const std::map<std::string, Thing>& content, const std::string& name) {
  const auto found = content.find(name);
  if (found == content.end()) return {};
  std::vector<T> all(found->second.bytes.size() / sizeof(T));
  if (!all.empty()) std::memcpy(all.data(), found->second.bytes.data(), all.size() * sizeof(T));
  return all;
}

class Watch {
 public:
  Watch(const Case& one, Side side, const std::map<std::string, Thing>& content, Events& events)
      : events_(events) {
    const Descriptor descriptor = Descriptor::parse(one.scheme);
    const std::string p = std::string(side_name(side)) + ".";
    type_ = descriptor.get_word("type");
    top_ = static_cast<float>((1 << (type_.back() - '0')) - 1);
    by_channel_ = descriptor.get_word(side == Side::kK ? "kaxis" : "vaxis") == "channel";
    book_ = values<float>(content, p + "codebook");
    for (const uint16_t bits : values<uint16_t>(content, p + "lo"))
      lo_.push_back(num::f16_decode(bits));
    for (const uint16_t bits : values<uint16_t>(content, p + "hi"))
      hi_.push_back(num::f16_decode(bits));
    starts_ = values<uint32_t>(content, p + "outlier.start");
    index_ = values<uint32_t>(content, p + "outlier.index");
    sealed_ = values<uint8_t>(content, p + "sealed");
    if (one.dim * (type_.back() - '0') % 32 != 0) set(Event::kPaddedGroup);
  }

  void token(size_t t, const std::vector<float>& x) {
    if (t >= sealed_.size() || sealed_[t] == 0) return;
    std::set<size_t> outliers;
    if (t + 1 < starts_.size())
      outliers.insert(index_.begin() + starts_[t], index_.begin() + starts_[t + 1]);
    if (!outliers.empty()) set(Event::kOutlier);
    if (!std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); })) return;
    if (!by_channel_) {
      const auto [low, high] = std::minmax_element(x.begin(), x.end());
      if (*low == *high) set(*low == 0.0f ? Event::kZeroGroup : Event::kConstantGroup);
      tied(x, outliers);
    }
    for (size_t j = 0; j < x.size(); ++j) {
      const size_t at = by_channel_ ? j : t;
      if (!outliers.contains(j)) inlier(x[j], lo_[at], hi_[at]);
    }
  }

 private:
  void set(Event event) { events_.set(static_cast<size_t>(event)); }

  void tied(const std::vector<float>& x, const std::set<size_t>& outliers) {
    std::set<float> inside;
    for (size_t j = 0; j < x.size(); ++j)
      if (!outliers.contains(j)) inside.insert(x[j]);
    for (const size_t j : outliers)
      if (inside.contains(x[j])) set(Event::kTiedOutliers);
  }

  void inlier(float x, float lo, float hi) {
    if (by_channel_ && (x == lo || x == hi)) set(Event::kAtThreshold);
    if (lo == hi) return set(Event::kConstantGroup);
    if (type_.starts_with("int")) {
      const float k = top_ / (hi - lo), t = k * x - lo * k;
      if (t - std::floor(t) == 0.5f) set(Event::kTie);
      if (std::nearbyint(t) < 0.0f || std::nearbyint(t) > top_) set(Event::kClamp);
      return;
    }
    const float r = (hi - lo) / 2, u = (x - (hi + lo) / 2) / r;
    if (r < 0x1p-14f) set(Event::kSubnormalScale);
    std::vector<float> distance;
    for (const float c : book_) distance.push_back(std::fabs(u - c));
    if (distance.empty()) return;
    const float least = *std::min_element(distance.begin(), distance.end());
    if (std::count(distance.begin(), distance.end(), least) > 1) set(Event::kTie);
    if (std::fabs(u) > 1.0f) set(Event::kClamp);
  }

  Events& events_;
  std::string type_;
  float top_ = 0;
  bool by_channel_ = false;
  std::vector<float> book_, lo_, hi_;
  std::vector<uint32_t> starts_, index_;
  std::vector<uint8_t> sealed_;  // of head 0 first
};

}  // namespace

void kvquant_events(const Case& one, Side side, ConstRows rows,
                    const std::map<std::string, Thing>& content, Events& events) {
  if (!content.contains(std::string(side_name(side)) + ".sealed")) return;
  Watch watch(one, side, content, events);
  std::vector<float> x(static_cast<size_t>(rows.heads * rows.dim));
  const int64_t length = content.at(std::string(side_name(side)) + ".sealed").shape[1];
  for (int64_t t = 0; t < std::min(rows.tokens, length); ++t) {
    for (int head = 0; head < rows.heads; ++head)
      std::copy_n(rows.row(t, head), rows.dim, x.begin() + head * rows.dim);
    num::f16_round(x, x);
    watch.token(static_cast<size_t>(t), x);
  }
}

}  // namespace kvx::check
