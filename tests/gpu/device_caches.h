// A device cache and the reference side by side: the same calls, and whether they give the same.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gpu/registry.h"
#include "sim/api/error.h"
#include "tests/support/caches.h"

namespace kvx::test {

struct PairConfig {
  std::string descriptor;
  int kv_heads = 2;
  int head_dim = 64;
  Windows windows = Windows::kKept;
  NonFinite nonfinite = NonFinite::kRefuse;
};

inline std::unique_ptr<LayerCache> make_on_device(const PairConfig& c) {
  CacheConfig config;
  config.shape = {.layer = 3, .kv_heads = c.kv_heads, .head_dim = c.head_dim};
  config.windows = c.windows;
  config.nonfinite = c.nonfinite;
  config.artifacts = test_artifacts();
  if (c.head_dim % 2 == 0) config.rope_steps = num::rope_steps(c.head_dim, 10000.0, {});
  return gpu::make_cache(Descriptor::parse(c.descriptor), config);
}

// Shows the first few places where bit patterns differ.
template <class T>
void expect_same_bits(const std::vector<T>& device, const std::vector<T>& reference,
                      const std::string& what) {
  std::ostringstream text;
  size_t different = 0;
  const size_t common = std::min(device.size(), reference.size());
  for (size_t i = 0; i < common; ++i) {
    if (device[i] == reference[i] || ++different > 6) continue;
    text << "\n  [" << i << "] device " << std::hex << static_cast<uint32_t>(device[i])
         << ", reference " << static_cast<uint32_t>(reference[i]) << std::dec;
  }
  EXPECT_TRUE(device.size() == reference.size() && different == 0)
      << what << ": " << device.size() << " on the device, " << reference.size()
      << " in the reference, " << different << " differ" << text.str();
}

inline std::vector<std::string> headers(const std::map<std::string, Exported>& tensors) {
  std::vector<std::string> all;
  for (const auto& [name, tensor] : tensors) {
    std::string text = name + " " + tensor.dtype;
    for (const int64_t size : tensor.shape) text += " " + std::to_string(size);
    all.push_back(text);
  }
  return all;
}

// Everything that is stored of a sequence.
inline void expect_same_content(const LayerCache& device, SeqId seq, const LayerCache& reference,
                                SeqId reference_seq, const std::string& when) {
  SCOPED_TRACE(when);
  ASSERT_EQ(device.length(seq), reference.length(reference_seq));
  for (const Side side : {Side::kK, Side::kV}) {
    EXPECT_EQ(device.held(seq, side), reference.held(reference_seq, side)) << side_name(side);
    EXPECT_EQ(device.used(seq, side).bytes, reference.used(reference_seq, side).bytes)
        << side_name(side);
    EXPECT_EQ(device.nominal_bits(side), reference.nominal_bits(side)) << side_name(side);
    expect_same_bits(patterns(read_held(device, seq, side)),
                     patterns(read_held(reference, reference_seq, side)),
                     std::string(side_name(side)) + ", held rows [token][head][channel]");
  }
  expect_same_bits(device.image(seq), reference.image(reference_seq), "image");
  const auto tensors = exported(device, seq);
  const auto expected = exported(reference, reference_seq);
  EXPECT_EQ(headers(tensors), headers(expected));
  for (const auto& [name, tensor] : expected) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) continue;
    if (name.ends_with(".decoded")) {
      expect_same_bits(patterns(found->second.as<float>()), patterns(tensor.as<float>()), name);
    } else {
      expect_same_bits(found->second.bytes, tensor.bytes, name + " (bytes)");
    }
  }
}

// What an action throws, or "".
template <class Action>
std::string thrown(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return "exit " + std::to_string(static_cast<int>(error.exit())) + ": " + error.what();
  } catch (const std::logic_error&) {
    return "logic error";
  }
  return "";
}

// One scheme on both sides. Sequences have the same number on both.
class CachePair {
 public:
  explicit CachePair(const PairConfig& config)
      : device(make_on_device(config)),
        reference(make(config.descriptor, config.kv_heads, config.head_dim, config.windows,
                       config.nonfinite)) {}

  // Runs the action on both, which must refuse alike; whether they did it.
  template <class Action>
  bool both(Action&& action, const char* what) {
    const std::string d = thrown([&] { action(*device); });
    const std::string r = thrown([&] { action(*reference); });
    EXPECT_EQ(d, r) << what;
    return d.empty() && r.empty();
  }

  SeqId open() {
    const SeqId seq = device->open();
    EXPECT_EQ(reference->open(), seq);
    return seq;
  }
  SeqId fork(SeqId seq) {
    const SeqId child = device->fork(seq);
    EXPECT_EQ(reference->fork(seq), child);
    return child;
  }

  // Appends, attends and looks at what the queries read.
  void feed(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const Span> spans) {
    if (!both([&](LayerCache& c) { c.append(k.view(), v.view(), spans); }, "append")) return;
    expect_same_attention(q, spans);
    for (const Span& span : spans) {
      for (const int64_t t : {span.first, span.first + span.count / 2}) {
        if (span.count > 0) expect_same_reads(span.seq, t);
      }
      if (span.count > 0) expect_same_reads(span.seq, span.first + span.count - 1);
    }
  }

  void expect_same_attention(const Tensor& q, std::span<const Span> spans) {
    Tensor on_device(q.tokens, q.heads, q.dim), expected(q.tokens, q.heads, q.dim);
    device->attend(q.view(), spans, on_device.view());
    reference->attend(q.view(), spans, expected.view());
    expect_same_bits(patterns(on_device.values), patterns(expected.values),
                     "attention [query][head][channel]");
  }

  void expect_same_reads(SeqId seq, int64_t query) {
    for (const Side side : {Side::kK, Side::kV}) {
      const ReadMap map = reference->reads(seq, side, query);
      ASSERT_EQ(device->reads(seq, side, query), map) << side_name(side) << ", query " << query;
      for (const RowRange& range : map) {
        expect_same_bits(patterns(read(*device, seq, side, range).values),
                         patterns(read(*reference, seq, side, range).values),
                         std::string(side_name(side)) + ", query " + std::to_string(query) +
                             (range.held == Held::kSealed ? ", sealed" : ", exact") +
                             " rows from " + std::to_string(range.first) +
                             " [token][head][channel]");
      }
    }
  }

  void expect_same(SeqId seq, const std::string& when) {
    expect_same_content(*device, seq, *reference, seq, when);
  }

  std::unique_ptr<LayerCache> device;
  std::unique_ptr<StoredCache> reference;
};

}  // namespace kvx::test
