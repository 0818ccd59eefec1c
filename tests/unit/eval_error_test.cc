// Relative errors of one layer: against arithmetic by hand and against plain loops in binary64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/error_layer.h"
#include "eval/error_norm.h"
#include "eval/error_record.h"
#include "eval/error_weights.h"
#include "eval/record.h"
#include "sim/api/error.h"
#include "sim/gen/random.h"
#include "tests/support/caches.h"

namespace kvx::eval {
namespace {

using model::CacheMode;
using Values = std::vector<double>;

constexpr int kHeads = 4, kKvHeads = 2, kDim = 32;

// -1 to 1.
double draw(uint64_t seed, uint64_t i) {
  const uint32_t word = gen::Source{.seed = seed, .tensor = 0, .purpose = 0}.words(i)[0];
  return static_cast<double>(word) / 2147483648.0 - 1;
}

std::vector<float> drawn(uint64_t seed, int64_t count, double scale) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(scale * draw(seed, i));
  return values;
}

const float* row(const std::vector<float>& values, int64_t token, int heads, int head) {
  return &values[static_cast<size_t>((token * heads + head) * kDim)];
}

// Softmax weights of one query over keys given row by row; nullptr: not read.
Values weights_of(const float* q, const std::vector<const float*>& keys) {
  Values weights(keys.size());
  for (size_t t = 0; t < keys.size(); ++t) {
    if (keys[t] == nullptr) continue;
    double score = 0;
    for (int i = 0; i < kDim; ++i)
      score += static_cast<double>(q[i]) * static_cast<double>(keys[t][i]);
    weights[t] = std::exp(score / std::sqrt(double{kDim}));
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

// Keys or values that the query at `position` reads, one head.
std::vector<const float*> rows_of(const std::vector<float>& values, int64_t position, int head) {
  std::vector<const float*> rows;
  for (int64_t t = 0; t <= position; ++t) rows.push_back(row(values, t, kKvHeads, head));
  return rows;
}

std::vector<float> attention(const std::vector<float>& q, const std::vector<float>& k,
                             const std::vector<float>& v) {
  std::vector<float> out(q.size());
  const int64_t tokens = std::ssize(q) / (kHeads * kDim);
  for (int64_t t = 0; t < tokens; ++t)
    for (int h = 0; h < kHeads; ++h) {
      const int kv_head = h / (kHeads / kKvHeads);
      const Values weights = weights_of(row(q, t, kHeads, h), rows_of(k, t, kv_head));
      for (int i = 0; i < kDim; ++i) {
        double sum = 0;
        for (int64_t s = 0; s <= t; ++s)
          sum += weights[static_cast<size_t>(s)] *
                 static_cast<double>(row(v, s, kKvHeads, kv_head)[i]);
        out[static_cast<size_t>((t * kHeads + h) * kDim + i)] = static_cast<float>(sum);
      }
    }
  return out;
}

template <class T>
double ratio(const std::vector<T>& found, const std::vector<T>& exact) {
  double distance = 0, norm = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double x = static_cast<double>(exact[i]), d = static_cast<double>(found[i]) - x;
    distance += d * d;
    norm += x * x;
  }
  return std::sqrt(distance / norm);
}

LayerActivations layer(int64_t tokens, uint64_t seed = 1) {
  LayerActivations base{.heads = kHeads,
                        .kv_heads = kKvHeads,
                        .dim = kDim,
                        .q = drawn(seed, tokens * kHeads * kDim, 1.5),
                        .out = {},
                        .k = drawn(seed + 1, tokens * kKvHeads * kDim, 3),
                        .v = drawn(seed + 2, tokens * kKvHeads * kDim, 1)};
  base.out = attention(base.q, base.k, base.v);
  return base;
}

LayerResult result(const std::string& scheme, const LayerActivations& base,
                   CacheMode mode = CacheMode::kStreamed) {
  const auto cache =
      test::make(scheme, kKvHeads, kDim, mode == CacheMode::kAll ? Windows::kNone : Windows::kKept);
  return layer_result(*cache, base, mode);
}

// Keys before rotation are stored, and compared as attention reads them: rotated.
TEST(ErrorLayer, KeysBeforeRotation) {
  constexpr int64_t kTokens = 50;
  constexpr const char* kScheme = "kvquant:int3,s2,kaxis=token";
  LayerActivations base = layer(kTokens);
  base.k_pre = base.k;
  const auto rotated = [](std::vector<float> k) {
    std::vector<float> sin(kDim / 2), cos(kDim / 2);
    for (size_t row = 0; row * kDim < k.size(); ++row) {
      num::rope_table(num::rope_steps(kDim, 10000.0, {}), static_cast<int64_t>(row / kKvHeads), sin,
                      cos);
      num::rope_rotate(std::span(k).subspan(row * kDim, kDim), sin, cos);
    }
    return k;
  };
  base.k = rotated(base.k_pre);
  base.out = attention(base.q, base.k, base.v);

  const auto cache = test::make(kScheme, kKvHeads, kDim);
  const Span span{.seq = cache->open(), .first = 0, .count = kTokens};
  cache->append(dense_rows<const float>(base.k_pre.data(), kTokens, kKvHeads, kDim),
                dense_rows<const float>(base.v.data(), kTokens, kKvHeads, kDim), {&span, 1});
  const std::vector<float> k = rotated(test::read_held(*cache, span.seq, Side::kK));
  const std::vector<float> v = test::read_held(*cache, span.seq, Side::kV);
  for (const CacheMode mode : {CacheMode::kStreamed, CacheMode::kAll}) {
    const LayerErrors errors = result(kScheme, base, mode).errors;
    EXPECT_NEAR(errors.k, ratio(k, base.k), 1e-12);
    EXPECT_NEAR(errors.v, ratio(v, base.v), 1e-12);
    EXPECT_NEAR(errors.out, ratio(attention(base.q, k, v), base.out), 1e-5);
    EXPECT_GT(errors.weights, 0);
  }
}

TEST(ErrorNorm, IsTheRatioOfTheNorms) {
  RelativeError error;
  EXPECT_EQ(error.value(), 0);
  const std::vector<float> a{3, 0}, b{0, 4}, found{3, 2}, other{1, 4};
  error.add<float>(found, a);  // distance 4 of norm 9
  error.add<float>(other, b);  // 1 of 16
  EXPECT_EQ(error.value(), std::sqrt(5.0 / 25.0));

  RelativeError zeros;
  const std::vector<float> zero{0, 0};
  zeros.add<float>(zero, zero);
  EXPECT_EQ(zeros.value(), 0);
  zeros.add<float>(a, zero);
  EXPECT_EQ(zeros.value(), std::numeric_limits<double>::infinity());
}

// Rows from -8 to 7.9375: 255 steps of 1/16, so that scale and zero are exact in fp16, and values
// off the grid by odd 1/128: the code of x is 16 (x + 8) to the nearest integer, never a tie.
TEST(ErrorLayer, EightBitsByHand) {
  constexpr int64_t kTokens = 70;
  LayerActivations base = layer(kTokens);
  std::vector<float> rounded[2];
  for (const int side : {0, 1}) {
    std::vector<float>& values = side == 0 ? base.k : base.v;
    for (size_t i = 0; i < values.size(); ++i) {
      const double odd = 2 * std::floor(500 * draw(7, i + static_cast<size_t>(side) * 100000)) + 1;
      values[i] = static_cast<float>(odd / 128);
      if (i % kDim == 5) values[i] = -8;
      if (i % kDim == 11) values[i] = 7.9375f;
      rounded[side].push_back(std::round(values[i] * 16) / 16);
    }
  }
  for (float& x : base.q) x /= 8;
  base.out = attention(base.q, base.k, base.v);
  const double k = ratio(rounded[0], base.k), v = ratio(rounded[1], base.v);
  const double out = ratio(attention(base.q, rounded[0], rounded[1]), base.out);
  Values found, exact;
  for (int64_t t = kTokens - 64; t < kTokens; ++t)
    for (int h = 0; h < kHeads; ++h) {
      const float* q = row(base.q, t, kHeads, h);
      const Values of_found = weights_of(q, rows_of(rounded[0], t, h / 2));
      const Values of_exact = weights_of(q, rows_of(base.k, t, h / 2));
      found.insert(found.end(), of_found.begin(), of_found.end());
      exact.insert(exact.end(), of_exact.begin(), of_exact.end());
    }
  ASSERT_GT(k, 1e-3);
  ASSERT_GT(ratio(found, exact), 1e-3);
  for (const CacheMode mode : {CacheMode::kStreamed, CacheMode::kAll}) {
    const LayerErrors errors = result("int:k8v8", base, mode).errors;
    EXPECT_NEAR(errors.k, k, 1e-12);
    EXPECT_NEAR(errors.v, v, 1e-12);
    EXPECT_NEAR(errors.weights, ratio(found, exact), 1e-5 * errors.weights);
    EXPECT_NEAR(errors.out, out, 1e-5 * errors.out);
  }
}

// Whatever the cache says that a query reads, once more with plain loops; 96 tokens, keys sealed in
// thirties while the last queries are still to come.
TEST(ErrorLayer, ReadsAreThoseOfEveryQuery) {
  constexpr int64_t kTokens = 96;
  const LayerActivations base = layer(kTokens);
  for (const char* scheme : {"kivi:k2v2,g32,r32", "int:k3v3,kaxis=channel,vaxis=channel"}) {
    const LayerErrors errors = result(scheme, base).errors;
    const auto cache = test::make(scheme, kKvHeads, kDim);
    const Span span{.seq = cache->open(), .first = 0, .count = kTokens};
    const auto dense = [](const std::vector<float>& values, int heads) {
      return dense_rows(values.data(), std::ssize(values) / (heads * kDim), heads, kDim);
    };
    cache->append(dense(base.k, kKvHeads), dense(base.v, kKvHeads), {&span, 1});
    const auto read_by = [&](Side side, int64_t query) {
      std::vector<float> values(static_cast<size_t>((query + 1) * kKvHeads * kDim));
      for (const RowRange& range : cache->reads(span.seq, side, query))
        cache->read(span.seq, side, range,
                    dense_rows(&values[static_cast<size_t>(range.first * kKvHeads * kDim)],
                               range.count, kKvHeads, kDim));
      return values;
    };
    EXPECT_NEAR(errors.k, ratio(read_by(Side::kK, kTokens - 1), base.k), 1e-12) << scheme;
    EXPECT_NEAR(errors.v, ratio(read_by(Side::kV, kTokens - 1), base.v), 1e-12) << scheme;
    Values found, exact;
    for (int64_t t = kTokens - 64; t < kTokens; ++t)
      for (int h = 0; h < kHeads; ++h) {
        const std::vector<float> keys = read_by(Side::kK, t);
        const Values a = weights_of(row(base.q, t, kHeads, h), rows_of(keys, t, h / 2));
        const Values b = weights_of(row(base.q, t, kHeads, h), rows_of(base.k, t, h / 2));
        found.insert(found.end(), a.begin(), a.end());
        exact.insert(exact.end(), b.begin(), b.end());
      }
    EXPECT_NEAR(errors.weights, ratio(found, exact), 1e-5) << scheme;
    std::vector<float> out(base.out.size());
    cache->attend(dense(base.q, kHeads), {&span, 1}, dense_rows(out.data(), kTokens, kHeads, kDim));
    EXPECT_NEAR(errors.out, ratio(out, base.out), 1e-12) << scheme;
    EXPECT_GT(errors.weights, 0.01);
    EXPECT_GT(errors.out, 0.01);
  }
}

// Fewer tokens than a window: exact in streamed, where only the rounding to fp16 is left. Without
// windows the values are sealed.
TEST(ErrorLayer, ExactRowsCountAsExact) {
  const LayerActivations base = layer(31);
  const LayerErrors streamed = result("kivi:k2v2,g32,r32", base).errors;
  const LayerErrors all = result("kivi:k2v2,g32,r32", base, CacheMode::kAll).errors;
  for (const double error : {streamed.k, streamed.v, streamed.weights, streamed.out, all.k}) {
    EXPECT_GT(error, 0);
    EXPECT_LT(error, 3e-3);
  }
  EXPECT_EQ(all.k, streamed.k);
  EXPECT_GT(all.v, 0.1);
  EXPECT_GT(all.out, 0.1);
}

TEST(ErrorLayer, FewerBitsAreWorse) {
  const LayerActivations base = layer(130);
  const auto errors = [&](const char* scheme) { return result(scheme, base).errors; };
  const LayerErrors two = errors("int:k2v2"), four = errors("int:k4v4"), f16 = errors("fp:f16");
  for (const auto value :
       {&LayerErrors::k, &LayerErrors::v, &LayerErrors::weights, &LayerErrors::out}) {
    EXPECT_GT(two.*value, 2 * (four.*value));
    EXPECT_GT(four.*value, 20 * (f16.*value));
    EXPECT_GT(f16.*value, 0);
  }
  EXPECT_LT(f16.k, 0x1p-11);  // half an ulp
  // Keys alone: values are exact but for fp16.
  const LayerErrors keys = errors("int:k2v8"), values = errors("int:k8v2");
  EXPECT_EQ(keys.k, two.k);
  EXPECT_EQ(keys.weights, two.weights);
  EXPECT_EQ(values.v, two.v);
  EXPECT_LT(values.weights, four.weights);
}

// A quantised cache that is one token long reads that token alone: its weight is 1.
TEST(ErrorLayer, OneToken) {
  const LayerErrors errors = result("int:k2v2", layer(1)).errors;
  EXPECT_EQ(errors.weights, 0);
  EXPECT_GT(errors.k, 0);
  EXPECT_NEAR(errors.out, errors.v, 1e-6);
}

TEST(ErrorLayer, NonFiniteValuesAreRefusedByName) {
  LayerActivations base = layer(3);
  base.v[kDim * kKvHeads + 4] = std::numeric_limits<float>::infinity();
  try {
    result("int:k4v4", base);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("layer 3"), std::string::npos) << error.what();
  }
}

ErrorRecord record() {
  ErrorRecord record;
  record.key = error_key("all", 2, "int@1:k4v4");
  record.window = 2;
  record.tokens = 96;
  record.values = 100;
  record.bytes[0][Item::kCodes] = 50;
  record.bytes[1][Item::kCodes] = 50;
  record.nominal = {4, 4};
  record.layers = {{0.1, 0.2, 0.3, 0.4}, {0, std::nan(""), HUGE_VAL, 1e-300}};
  record.runs = {{.backend = "cpu", .seconds = 0.5, .shadow = {}}};
  return record;
}

TEST(ErrorRecordTest, IsReadBack) {
  const Json json = to_json(record());
  EXPECT_EQ(json.at("schema"), "kvx-error/1");
  EXPECT_EQ(json.at("key"), "error@1/all/2/int@1:k4v4");
  EXPECT_EQ(json.at("layers").at(0).at("weights").at("value"), 0.3);
  EXPECT_EQ(json.at("layers").at(1).at("weights").at("class"), "+inf");
  EXPECT_EQ(to_json(parse_record(Json::parse(json.dump()))).dump(), json.dump());
}

TEST(ErrorRecordTest, DamagedLinesAreRefused) {
  const auto refused = [](auto&& change) {
    Json json = to_json(record());
    change(json);
    EXPECT_THROW(parse_record(json), std::exception) << json.dump();
  };
  for (const char* name : {"window", "layers", "tokens", "bytes", "schema", "key"})
    refused([&](Json& json) { json.erase(name); });
  for (const char* name : {"k", "v", "weights", "out"})
    refused([&](Json& json) { json["layers"][1].erase(name); });
  refused([](Json& json) { json["layers"] = 3; });
  refused([](Json& json) { json["layers"] = {{"k", 1}}; });
  refused([](Json& json) { json["layers"][0]["out"] = 0.5; });
  refused([](Json& json) { json["window"] = "2"; });
  refused([](Json& json) { json["window"] = 3; });
}

}  // namespace
}  // namespace kvx::eval
