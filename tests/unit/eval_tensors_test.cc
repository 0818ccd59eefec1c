// Tensor files, and kvx encode and decode from outside.
#include <gtest/gtest.h>

#include <filesystem>

#include "eval/artifacts.h"
#include "eval/canonical.h"
#include "tests/support/caches.h"
#include "tests/support/expect_refused.h"
#include "tests/support/model_writer.h"
#include "tests/support/program.h"

namespace kvx {
namespace {

using eval::TensorFile;
using eval::TensorMap;
using test::kvx_run;
using test::Outcome;
using test::SafetensorsEntry;

template <class T>
eval::Tensor tensor(const std::string& dtype, const std::vector<int64_t>& shape,
                    const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span<const T>(values));
  return {dtype, shape, {bytes.begin(), bytes.end()}};
}

constexpr int kBatch = 2, kHeads = 2, kTokens = 100, kDim = 64;

// [batch, kv heads, tokens, head dim]
std::vector<float> values_of(uint32_t number) {
  std::vector<float> all;
  for (uint32_t row = 0; row < kBatch * kHeads; ++row) {
    const auto part = test::filled(gen::Fill::kHeavy, 3, number * 100 + row, kTokens, 1, kDim);
    all.insert(all.end(), part.values.begin(), part.values.end());
  }
  return all;
}

// k and v of the prefixes given, in one file.
void write_input(const std::string& path, const std::vector<std::string>& prefixes) {
  TensorMap all;
  uint32_t number = 0;
  for (const std::string& prefix : prefixes) {
    for (const char* side : {"k", "v"})
      all[prefix + side] = tensor("F32", {kBatch, kHeads, kTokens, kDim}, values_of(number++));
  }
  eval::write_tensor_file(path, all, {});
}

std::vector<float> floats(const TensorFile& file, const std::string& name) {
  const ArtifactTensor* found = file.find(name);
  if (found == nullptr) throw std::runtime_error("no " + name);
  return eval::widened(*found, name);
}

TEST(TensorFiles, ReadWhatWasWritten) {
  test::TempDir dir;
  const TensorMap tensors{{"a", tensor<uint8_t>("U8", {3}, {1, 2, 3})},
                          {"b", tensor<float>("F32", {1, 2}, {1.5f, -0.0f})},
                          {"c", tensor<uint16_t>("F16", {1}, {0x3C00})},
                          {"empty", tensor<float>("F32", {0, 4}, {})}};
  eval::write_tensor_file(dir / "x", tensors, {{"key", "value"}});
  const std::string bytes = test::read_file(dir / "x");
  const TensorFile file(dir / "x");
  EXPECT_EQ(file.metadata(), (eval::Metadata{{"key", "value"}}));
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const auto& [name, expected] : tensors) {
    const ArtifactTensor* found = file.find(name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->dtype, expected.dtype);
    EXPECT_EQ(found->shape, expected.shape);
    EXPECT_TRUE(std::equal(found->bytes.begin(), found->bytes.end(), expected.bytes.begin(),
                           expected.bytes.end()));
  }
  EXPECT_EQ(file.find("d"), nullptr);
  // Data begin at a multiple of 8, the widest elements first.
  EXPECT_EQ(file.find("b")->bytes.data() - file.find("c")->bytes.data(), -8);
  EXPECT_EQ(file.find("c")->bytes.data() - file.find("a")->bytes.data(), -2);
  EXPECT_EQ(bytes.size() % 8, (8 + 2 + 3) % 8u);
  eval::write_tensor_file(dir / "y", tensors, {{"key", "value"}});
  EXPECT_EQ(test::read_file(dir / "y"), bytes);
}

TEST(TensorFiles, Widened) {
  const auto bytes = tensor<uint16_t>("", {2}, {0x3C00, 0xC000});
  const auto wide = [&](const std::string& dtype) {
    return eval::widened({dtype, {2}, bytes.bytes}, "x");
  };
  EXPECT_EQ(wide("F16"), (std::vector<float>{1.0f, -2.0f}));
  EXPECT_EQ(wide("BF16"), (std::vector<float>{0.0078125f, -2.0f}));
  EXPECT_THROW(wide("I16"), Error);
}

TEST(TensorFiles, MetadataMustBeStrings) {
  test::TempDir dir;
  test::write_file(dir / "x", test::safetensors_file(R"({"__metadata__":{"scheme":3}})", ""));
  test::expect_refused([&] { TensorFile{dir / "x"}; }, {dir / "x", "__metadata__.scheme", "3"});
  test::write_file(dir / "x", test::safetensors_file(R"({"__metadata__":[]})", ""));
  test::expect_refused([&] { TensorFile{dir / "x"}; }, {dir / "x", "__metadata__"});
}

// Keys before rotation are taken from k.pre. A constant token is all outliers, so that the two
// batch entries have lists of different lengths: the shorter is filled up with zeros.
TEST(Encode, KeysBeforeRotationAndListsOfUnequalLengths) {
  test::TempDir dir;
  std::vector<float> k = values_of(0);
  const auto half = static_cast<int64_t>(k.size() / 2);
  std::fill(k.begin() + half, k.end(), 2.0f);
  const auto rows = [&](const std::vector<float>& values) {
    return tensor("F32", {kBatch, kHeads, kTokens, kDim}, values);
  };
  eval::write_tensor_file(dir / "in",
                          {{"k", rows(values_of(7))}, {"k.pre", rows(k)}, {"v", rows(k)}}, {});
  const Outcome encoded = kvx_run({"encode", "--scheme", "kvquant:nf4,o0.05,kaxis=token", "--in",
                                   dir / "in", "--out", dir / "codes"});
  ASSERT_EQ(encoded.code, 0) << encoded.err;
  const TensorFile codes(dir / "codes");
  constexpr int64_t kConstant = int64_t{kHeads} * kTokens * kDim;
  for (const std::string side : {"k.", "v."}) {
    const ArtifactTensor& index = *codes.find(side + "outlier.index");
    EXPECT_EQ(index.shape, (std::vector<int64_t>{kBatch, kConstant}));
    EXPECT_EQ(index.bytes[kConstant * 4 - 1], std::byte{0});
    EXPECT_EQ(floats(codes, side + "decoded").back(), 2.0f);
  }
  const Outcome decoded = kvx_run({"decode", "--in", dir / "codes", "--out", dir / "out"});
  ASSERT_EQ(decoded.code, 0) << decoded.err;
  EXPECT_EQ(decoded.err, "");
  const TensorFile out(dir / "out");
  EXPECT_EQ(floats(out, "k"), floats(codes, "k.decoded"));
  EXPECT_EQ(floats(out, "v"), floats(codes, "v.decoded"));
}

class RoundTrip : public testing::TestWithParam<const char*> {};

// decode(encode(x)) is `decoded`, bit for bit, with a `decoded` that is wrong where tokens are
// sealed; and encode gives what the cache of each layer and batch entry alone exports.
TEST_P(RoundTrip, DecodesFromTheCodes) {
  test::TempDir dir;
  write_input(dir / "in", {"layers.3.", "layers.12."});
  for (const char* mode : {"streamed", "all"}) {
    const Outcome encoded = kvx_run({"encode", "--scheme", GetParam(), "--mode", mode, "--in",
                                     dir / "in", "--out", dir / "codes"});
    ASSERT_EQ(encoded.code, 0) << encoded.err;
    EXPECT_EQ(encoded.out + encoded.err, "");
    const TensorFile in(dir / "in"), codes(dir / "codes");
    EXPECT_EQ(codes.metadata().at("scheme"), Descriptor::parse(GetParam()).versioned());
    EXPECT_EQ(codes.metadata().at("mode"), mode);
    EXPECT_EQ(codes.metadata().at("input_sha256"), in.sha256());

    TensorMap spoilt;
    for (const auto& [name, t] : codes.tensors())
      spoilt[name] = {t.dtype, t.shape, {t.bytes.begin(), t.bytes.end()}};
    for (const std::string prefix : {"layers.3.k", "layers.3.v", "layers.12.k", "layers.12.v"}) {
      if (spoilt.count(prefix + ".codes") == 0) continue;
      const auto& sealed = spoilt.at(prefix + ".sealed").bytes;
      for (size_t row = 0; row < sealed.size(); ++row)
        if (sealed[row] != std::byte{0})
          spoilt.at(prefix + ".decoded").bytes[row * kDim * 4 + 3] ^= std::byte{0x80};
    }
    eval::write_tensor_file(dir / "spoilt", spoilt, codes.metadata());
    const Outcome decoded = kvx_run({"decode", "--in", dir / "spoilt", "--out", dir / "out"});
    ASSERT_EQ(decoded.code, 0) << decoded.err;
    EXPECT_EQ(decoded.err.empty(), spoilt.count("layers.3.k.codes") == 0) << decoded.err;

    const TensorFile out(dir / "out");
    EXPECT_EQ(out.tensors().size(), 4u);
    for (const int layer : {3, 12}) {
      const std::string prefix = "layers." + std::to_string(layer) + ".";
      CacheConfig config{.shape = {layer, kHeads, kDim},
                         .windows = mode == std::string("all") ? Windows::kNone : Windows::kKept};
      const auto cache = ref::make_cache(Descriptor::parse(GetParam()), config);
      for (const std::string side : {"k", "v"}) {
        EXPECT_EQ(test::patterns(floats(out, prefix + side)),
                  test::patterns(floats(codes, prefix + side + ".decoded")));
      }
      const auto k = floats(in, prefix + "k"), v = floats(in, prefix + "v");
      std::map<std::string, std::vector<std::byte>> expected;
      for (int entry = 0; entry < kBatch; ++entry) {
        const auto rows = [&](const std::vector<float>& all) {
          test::Tensor t(kTokens, kHeads, kDim);
          for (int head = 0; head < kHeads; ++head)
            for (int token = 0; token < kTokens; ++token)
              std::copy_n(all.begin() + ((entry * kHeads + head) * kTokens + token) * kDim, kDim,
                          t.view().row(token, head));
          return t;
        };
        const SeqId seq = cache->open();
        test::append(*cache, seq, rows(k), rows(v), 0, kTokens);
        for (const auto& [name, t] : test::exported(*cache, seq))
          expected[name].insert(expected[name].end(), t.bytes.begin(), t.bytes.end());
      }
      for (const auto& [name, bytes] : expected) {
        const ArtifactTensor* found = codes.find(prefix + name);
        ASSERT_NE(found, nullptr) << name;
        EXPECT_EQ(found->shape[0], kBatch);
        EXPECT_TRUE(
            std::equal(bytes.begin(), bytes.end(), found->bytes.begin(), found->bytes.end()))
            << name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, RoundTrip,
                         testing::Values("fp:f32", "fp:bf16", "int:k4v4", "int:k3v5,g8,sym",
                                         "int:k2v3,kaxis=channel,vaxis=channel,g12",
                                         "kivi:k2v4,r32", "kivi:k4v2,g64,r64,profile=paper",
                                         "kvquant:nf3,o0.05,s3,kaxis=token,rope=post,profile=paper",
                                         "kvquant:int4,kaxis=token"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); },
                               '_');
                           return name;
                         });

// A file with these tensors, run through `words`; {in} and {out} stand for paths.
Outcome run_on(const test::TempDir& dir, const std::vector<SafetensorsEntry>& entries,
               std::vector<std::string> words) {
  test::write_file(dir / "in", test::safetensors_file(entries));
  words.insert(words.end(), {"--in", dir / "in", "--out", dir / "out"});
  const Outcome outcome = kvx_run(words);
  EXPECT_TRUE(outcome.code == 0 || !std::filesystem::exists(dir / "out"));
  EXPECT_LE(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  return outcome;
}

void expect_error(const Outcome& outcome, int code, const std::vector<std::string>& says) {
  EXPECT_EQ(outcome.code, code) << outcome.err;
  for (const std::string& part : says)
    EXPECT_NE(outcome.err.find(part), std::string::npos) << "no " << part << " in " << outcome.err;
}

SafetensorsEntry zeros(const std::string& name, const std::string& dtype,
                       const std::vector<int64_t>& shape, size_t element) {
  size_t count = element;
  for (const int64_t dim : shape) count *= static_cast<size_t>(dim);
  return {name, dtype, shape, std::string(count, '\0')};
}

TEST(Encode, RefusesWhatItCannotTake) {
  test::TempDir dir;
  const auto encode = [&](const std::vector<SafetensorsEntry>& entries,
                          const std::string& scheme = "int4") {
    return run_on(dir, entries, {"encode", "--scheme", scheme});
  };
  const auto k = zeros("k", "F16", {1, 2, 3, 64}, 2);
  expect_error(encode({}), 3, {dir / "in", "no tensor 'k' or 'layers.N.k'"});
  expect_error(encode({k}), 3, {dir / "in", "tensor 'v' is missing"});
  expect_error(encode({k, zeros("v", "F16", {1, 2, 4, 64}, 2)}), 3,
               {"tensor 'v' is F16 [1, 2, 4, 64]", "'k' is F16 [1, 2, 3, 64]"});
  expect_error(encode({k, zeros("v", "F16", {1, 2, 3 * 64}, 2)}), 3, {"'v' is F16 [1, 2, 192]"});
  expect_error(encode({k, zeros("v", "I16", {1, 2, 3, 64}, 2)}), 3,
               {"'v' is I16, not F32, F16 or BF16"});
  expect_error(encode({zeros("k", "F16", {0, 1, 4, 64}, 2), zeros("v", "F16", {0, 1, 4, 64}, 2)}),
               3, {"'k' is F16 [0, 1, 4, 64]"});
  expect_error(encode({zeros("k", "F16", {1, 1, 1, 65537}, 2)}), 3, {"65537", "head dim"});
  const auto v = zeros("v", "F16", {1, 2, 3, 64}, 2);
  expect_error(encode({k, v}, "int:k4v4,g48"), 2, {"g=48", "64"});
  expect_error(encode({k, v}, "itn4"), 2, {"itn4", "int4"});
  expect_error(run_on(dir, {k, v}, {"encode"}), 2, {"--scheme is required"});
  expect_error(run_on(dir, {k, v}, {"encode", "--scheme", "int4", "--mode", "al"}), 2,
               {"--mode 'al'", "'all'"});

  auto bad = zeros("layers.7.v", "F16", {2, 2, 3, 64}, 2);
  const size_t at = ((1 * 2 + 1) * 3 + 2) * 64 + 5;  // batch entry 1, head 1, token 2, channel 5
  bad.bytes[2 * at + 1] = 0x7C;                      // +inf
  const auto good = zeros("layers.7.k", "F16", {2, 2, 3, 64}, 2);
  expect_error(
      encode({good, bad}), 3,
      {dir / "in", "batch entry 1: layer 7, v, head 1, token 2, channel 5: inf is not finite"});
  EXPECT_EQ(
      run_on(dir, {good, bad}, {"encode", "--scheme", "int4", "--nonfinite", "propagate"}).code, 0);
}

// --artifact stands for what the scheme does not name; what it names must be it.
TEST(Encode, TakesTheArtifactFromAnOption) {
  test::TempDir dir;
  write_input(dir / "in", {""});
  const auto calibrated = [&](const std::string& name, float scale) {
    TensorMap scales;
    for (const char* side : {"k", "v"})
      scales[std::string("layers.0.") + side + ".scale"] = tensor<float>("F32", {1}, {scale});
    eval::write_tensor_file(dir / name, scales, {});
  };
  calibrated("one", 0.5f);
  calibrated("other", 0.25f);
  const auto encode = [&](const std::string& scheme, const std::string& artifact) {
    std::vector<std::string> words{"encode",    "--in",     dir / "in", "--out",
                                   dir / "out", "--scheme", scheme};
    if (!artifact.empty()) words.insert(words.end(), {"--artifact", dir / artifact});
    return kvx_run(words);
  };
  const Outcome named = encode("fp8:e4m3,scale=tensor,cal=" + dir / "one", "");
  ASSERT_EQ(named.code, 0) << named.err;
  const std::string expected = test::read_file(dir / "out");
  const Outcome given = encode("fp8:e4m3,scale=tensor", "one");
  ASSERT_EQ(given.code, 0) << given.err;
  EXPECT_EQ(test::read_file(dir / "out"), expected);
  EXPECT_EQ(
      kvx_run({"decode", "--in", dir / "out", "--out", dir / "kv", "--artifact", dir / "one"}).code,
      0);
  expect_error(
      kvx_run({"decode", "--in", dir / "out", "--out", dir / "kv", "--artifact", dir / "other"}), 3,
      {"artifact", "not found"});
  expect_error(encode("fp8:e4m3,scale=tensor,cal=" + dir / "one", "other"), 2,
               {dir / "other", "the scheme names #"});
  expect_error(encode("int4", "one"), 2, {dir / "one", "'int' is not calibrated"});
  expect_error(encode("fp8:e4m3,scale=tensor", "absent"), 3, {dir / "absent"});
}

TEST(Encode, LeavesTheOldFileWhereTheNewOneCannotBeSaved) {
  test::TempDir dir;
  write_input(dir / "in", {""});
  const std::vector<std::string> words{"encode",   "--scheme", "int4",     "--in",
                                       dir / "in", "--out",    dir / "out"};
  test::write_file(dir / "out", "old");
  const Outcome full = kvx_run(words, rlim_t{4096});  // no file may be longer
  EXPECT_EQ(full.code, 4) << full.err;
  EXPECT_NE(full.err.find(dir / "out"), std::string::npos) << full.err;
  EXPECT_EQ(test::read_file(dir / "out"), "old");
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path()))
    ++files;
  EXPECT_EQ(files, 2u);  // nothing half-written is left

  std::vector<std::string> elsewhere = words;
  elsewhere.back() = "/proc/out";
  EXPECT_EQ(kvx_run(elsewhere).code, 4);
  std::vector<std::string> itself = words;
  itself.back() = dir / "in";
  expect_error(kvx_run(itself), 2, {"--out", "is the file of --in"});
}

// Canonical tensors of 40 tokens of kivi (32 sealed on both sides), as a third party may write
// them, with one thing wrong at a time.
TEST(Decode, RefusesWhatTheSchemeCannotHold) {
  test::TempDir dir;
  const std::string scheme = "kivi:k2v2,r32";
  const auto input = zeros("k", "F16", {1, 1, 40, 32}, 2);
  ASSERT_EQ(
      run_on(dir, {input, zeros("v", "F16", {1, 1, 40, 32}, 2)}, {"encode", "--scheme", scheme})
          .code,
      0);
  std::filesystem::rename(dir / "out", dir / "good");
  std::map<std::string, SafetensorsEntry> good;
  const TensorFile file(dir / "good");
  for (const auto& [name, t] : file.tensors())
    good[name] = {name, t.dtype, t.shape,
                  std::string(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size())};
  const auto decode = [&](const std::map<std::string, SafetensorsEntry>& tensors) {
    std::vector<SafetensorsEntry> entries;
    for (const auto& [name, entry] : tensors) entries.push_back(entry);
    std::filesystem::remove(dir / "out");
    return run_on(dir, entries, {"decode", "--scheme", scheme});
  };
  EXPECT_EQ(decode(good).code, 0);

  auto bad = good;
  bad.erase("v.zero");
  expect_error(decode(bad), 3, {dir / "in", "tensor 'v.zero' is missing"});
  bad = good;
  bad["k.codes"].bytes[5 * 32 + 7] = 4;
  expect_error(decode(bad), 3,
               {"'k.codes', head 0, token 0", "token 5, channel 7: code 4 has more than 2 bits"});
  bad = good;
  bad["k.sealed"].bytes[32] = 1;
  expect_error(decode(bad), 3, {"'k.sealed', head 0, token 32 is 1", "the first 32 are sealed"});
  bad = good;
  bad["v.scale"].dtype = "BF16";
  expect_error(decode(bad), 3, {"'v.scale' is BF16 [1, 40, 1], not F16 [1, 40, 1]"});
  bad = good;
  bad["v.scale"].shape = {1, 1, 1, 40};
  expect_error(decode(bad), 3, {"'v.scale' is F16 [1, 1, 40], not F16 [1, 40, 1]"});
  bad = good;
  bad["v.scale"].shape = {40, 1, 1, 1};
  expect_error(decode(bad), 3, {"'v.scale' is F16 [40, 1, 1, 1], not of batch 1"});
  bad = good;
  const float not_f16 = 1.0f + 0x1p-20f;
  bad["k.decoded"].bytes.replace((33 * 32 + 2) * 4, 4, test::le_bytes(not_f16));
  expect_error(decode(bad), 3, {"'k.decoded', head 0, token 33, channel 2", "not a number of f16"});
  std::filesystem::remove(dir / "out");
  expect_error(run_on(dir, {}, {"decode", "--scheme", scheme}), 3, {"k.sealed"});
  expect_error(run_on(dir, {}, {"decode"}), 2, {"--scheme is required", "no metadata 'scheme'"});
  expect_error(kvx_run({"decode", "--scheme", "int4", "--in", dir / "good", "--out", dir / "out"}),
               2, {"int@1:k4v4", "kivi@1:k2v2,r32"});
}

}  // namespace
}  // namespace kvx
