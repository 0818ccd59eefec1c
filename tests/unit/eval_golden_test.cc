// kvx gen and kvx verify from outside: the judge is judged.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "eval/files.h"
#include "eval/golden.h"
#include "eval/tensor_diff.h"
#include "tests/support/caches.h"
#include "tests/support/program.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using eval::TensorFile;
using eval::TensorMap;
using test::kvx_run;
using test::Outcome;

constexpr const char* kCase = "kivi-k2v2-r32.streamed.heavy-2x2x70x64-f16-s7";

TensorMap copy_of(const TensorFile& file) {
  TensorMap all;
  for (const auto& [name, t] : file.tensors())
    all[name] = {t.dtype, t.shape, {t.bytes.begin(), t.bytes.end()}};
  return all;
}

void expect(const Outcome& outcome, int code, const std::vector<std::string>& says) {
  EXPECT_EQ(outcome.code, code) << outcome.out << outcome.err;
  for (const std::string& part : says)
    EXPECT_NE((outcome.out + outcome.err).find(part), std::string::npos)
        << "no " << part << " in " << outcome.out << outcome.err;
}

class Golden : public testing::Test {
 protected:
  Golden() : folder_(dir_ / "golden"), file_(folder_ + "/" + kCase + ".safetensors") {
    const Outcome made =
        kvx_run({"gen", "--scheme", "kivi:k2v2,r32", "--scheme", "fp8:e4m3", "--fill", "heavy",
                 "--shape", "2x2x70x64", "--seed", "7", "--out", folder_});
    EXPECT_EQ(made.code, 0) << made.err;
  }

  Outcome verify(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"verify", "--golden", folder_});
    return kvx_run(more);
  }
  // The golden file with tensors changed by `change`, at another place.
  std::string theirs(const std::function<void(TensorMap&)>& change) const {
    TensorMap all = copy_of(TensorFile(file_));
    change(all);
    eval::write_tensor_file(dir_ / "theirs", all, {});
    return dir_ / "theirs";
  }
  void change_manifest(const std::function<void(nlohmann::json&)>& change) const {
    auto manifest = nlohmann::json::parse(test::read_file(folder_ + "/manifest.json"));
    change(manifest);
    test::write_file(folder_ + "/manifest.json", manifest.dump());
  }

  test::TempDir dir_;
  std::string folder_, file_;
};

TEST_F(Golden, HoldsTheInputAndWhatTheCacheExports) {
  const TensorFile input(folder_ + "/input-heavy-2x2x70x64-f16-s7.safetensors");
  const TensorFile golden(file_);
  // Batch entry 1: tensors 2 and 3 of the fill, [tokens][heads][dim], rounded to fp16.
  const test::Tensor k = test::filled(gen::Fill::kHeavy, 7, 2, 70, 2, 64);
  const test::Tensor v = test::filled(gen::Fill::kHeavy, 7, 3, 70, 2, 64);
  const auto stored = eval::widened(*input.find("k"), "k");
  EXPECT_EQ(input.find("k")->dtype, "F16");
  EXPECT_EQ(input.find("k")->shape, (std::vector<int64_t>{2, 2, 70, 64}));
  EXPECT_EQ(stored[((2 + 1) * 70 + 69) * 64 + 5],  // entry 1, head 1, token 69, channel 5
            num::f16_round(k.view().row(69, 1)[5]));
  const auto cache = test::make("kivi:k2v2,r32", 2, 64);
  const SeqId seq = cache->open();
  test::append(*cache, seq, k, v, 0, 70);
  for (const auto& [name, t] : test::exported(*cache, seq)) {
    const ArtifactTensor* found = golden.find(name);
    ASSERT_NE(found, nullptr) << name;
    const auto entry = found->bytes.subspan(t.bytes.size());
    EXPECT_TRUE(std::equal(t.bytes.begin(), t.bytes.end(), entry.begin(), entry.end())) << name;
  }
  expect(verify(), 0,
         {"good: 20 tensors are the same, 0 differ"});  // 2 inputs, 12 of kivi, 6 of fp8
  expect(kvx_run({"verify", "--golden", dir_.path().string()}), 0, {"20 tensors"});
}

TEST_F(Golden, SomebodyElsesFlippedBitIsNamed) {
  // The layout of codes is [batch 2][head 2][token 70][channel 64]: entry 1, head 0, token 33.
  const std::string path = theirs([](TensorMap& all) {
    auto& code = all.at("v.codes").bytes[((1 * 2 + 0) * 70 + 33) * 64 + 9];
    code ^= std::byte{2};
  });
  const TensorFile golden(file_);
  const auto expected =
      std::to_integer<int>(golden.find("v.codes")->bytes[((1 * 2 + 0) * 70 + 33) * 64 + 9]);
  const Outcome outcome = verify({"--in", path, "--case", kCase});
  expect(outcome, 1,
         {"DIFFERENT", "v.codes [1, 0, 33, 9]: expected " + std::to_string(expected),
          "found " + std::to_string(expected ^ 2), "1 of its values differ", "11 of 12"});
  expect(verify({"--in", path, "--case", kCase, "--tensors", "k.codes,v.scale"}), 0, {"2 of 2"});
  expect(verify({"--in", path, "--case", kCase, "--tensors", "v.codes"}), 1, {"0 of 1"});
  const auto json = nlohmann::json::parse(verify({"--in", path, "--case", kCase, "--json"}).out);
  EXPECT_EQ(json.at("good"), false);
  EXPECT_EQ(json.at("verdicts").at(0).at("case"), kCase);
}

TEST_F(Golden, MissingAndExtraTensorsAreNamed) {
  const std::string path = theirs([](TensorMap& all) {
    all.erase("k.zero");
    all["k.mine"] = all.at("k.sealed");
  });
  expect(verify({"--in", path, "--case", kCase}), 0,
         {"missing k.zero", "extra k.mine", "11 of 11"});
  expect(verify({"--in", path, "--case", kCase, "--tensors", "k.zero"}), 1, {"missing k.zero"});
  const std::string nothing = theirs([](TensorMap& all) { all.clear(); });
  expect(verify({"--in", nothing, "--case", kCase}), 1, {"0 of 0"});
  const std::string reshaped = theirs([](TensorMap& all) { all.at("k.sealed").shape = {2, 140}; });
  expect(verify({"--in", reshaped, "--case", kCase}), 1,
         {"k.sealed expected U8 [2, 2, 70], found U8 [2, 140]"});
  // A folder of files: the case whose file is not there is not the same.
  fs::create_directory(dir_ / "folder");
  fs::copy_file(file_, dir_ / "folder" + ("/" + fs::path(file_).filename().string()));
  expect(verify({"--in", dir_ / "folder"}), 1, {"12 of 12", "missing k.codes"});
  expect(verify({"--in", dir_ / "folder", "--case", kCase}), 0, {"12 of 12"});
}

TEST_F(Golden, NansAreEqual) {
  const auto with = [](uint32_t bits) { return std::vector<uint32_t>{0x3F800000, bits}; };
  const auto a = with(0x7FC00000), b = with(0xFFC00001), c = with(0x7F800000);
  const auto tensor = [](const std::string& dtype, const std::vector<uint32_t>& values) {
    return ArtifactTensor{dtype, {2}, std::as_bytes(std::span(values))};
  };
  EXPECT_FALSE(eval::first_difference(tensor("F32", a), tensor("F32", b)));
  const auto difference = eval::first_difference(tensor("F32", a), tensor("F32", c));
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->index, (std::vector<int64_t>{1}));
  EXPECT_EQ(difference->expected, "nan (0x7fc00000)");
  EXPECT_EQ(difference->found, "inf (0x7f800000)");
  EXPECT_TRUE(eval::first_difference(tensor("I32", a), tensor("I32", b)));
  // Zeros of different signs are different.
  EXPECT_TRUE(eval::first_difference(tensor("F32", with(0)), tensor("F32", with(0x80000000))));
}

// Goldens that say something else than this program computes, and say so consistently.
TEST_F(Golden, ThisProgramIsJudged) {
  TensorMap all = copy_of(TensorFile(file_));
  all.at("k.scale").bytes[2 * 64 + 1] ^= std::byte{0x80};  // entry 0, head 0, group 1, channel 0
  eval::write_tensor_file(file_, all, {});
  change_manifest([&](nlohmann::json& manifest) {
    auto& one = manifest.at("cases").at(0);
    EXPECT_EQ(one.at("name"), kCase);
    one["sha256"] = TensorFile(file_).sha256();
    one["tensors"]["k.scale"]["sha256"] = eval::described(all.at("k.scale")).sha256;
  });
  const Outcome outcome = verify();
  expect(outcome, 1, {"k.scale [0, 0, 1, 0]: expected -", "$ kvx encode --scheme kivi:k2v2,r32"});
  // The lines it gives show the same again.
  std::vector<std::string> lines;
  for (size_t at = 0; (at = outcome.out.find("$ kvx ", at)) != std::string::npos; ++at)
    lines.push_back(outcome.out.substr(at + 6, outcome.out.find('\n', at) - at - 6));
  ASSERT_EQ(lines.size(), 2u);
  const std::string in_folder = "cd " + dir_.path().string() + " && " + KVX_PROGRAM + " ";
  EXPECT_EQ(test::Process({"/bin/sh", "-c", in_folder + lines[0]}).wait(), 0);
  test::Process again({"/bin/sh", "-c", in_folder + lines[1]});
  EXPECT_EQ(again.wait(), 1);
  EXPECT_NE(again.out().find("k.scale [0, 0, 1, 0]"), std::string::npos) << again.out();
}

TEST_F(Golden, DamageIsNoVerdict) {
  const std::string manifest = folder_ + "/manifest.json";
  const std::string good = test::read_file(manifest);
  const auto damaged = [&](const std::function<void(nlohmann::json&)>& change,
                           const std::vector<std::string>& says) {
    change_manifest(change);
    expect(verify(), 3, says);
    test::write_file(manifest, good);
  };
  damaged([](auto& m) { m["schema"] = "kvx-golden/2"; }, {manifest, "schema", "kvx-golden/2"});
  damaged([](auto& m) { m["cases"][0]["sha256"] = std::string(64, '0'); },
          {file_, "SHA-256 is ", "the manifest says 000"});
  damaged([](auto& m) { m["cases"][0]["sha256"] = "x"; }, {"cases[0].sha256"});
  damaged([](auto& m) { m["cases"][0]["name"] = "../secret"; }, {"cases[0].name", "../secret"});
  damaged([](auto& m) { m["cases"][0]["scheme"] = "kivi@99:k2v2,r32"; }, {manifest, "kivi@99"});
  damaged([](auto& m) { m["cases"][0]["tensors"].erase("k.codes"); }, {file_, "12 tensors"});
  damaged([](auto& m) { m["cases"][0]["tensors"]["k.codes"]["shape"][0] = 3; },
          {file_, "'k.codes' is not the manifest's"});
  damaged([](auto& m) { m["inputs"][0]["seed"] = 8; }, {"inputs[0].file", "-s8"});
  damaged([](auto& m) { m["inputs"][0]["shape"] = {2, 2, 70}; }, {"inputs[0].shape"});
  damaged([](auto& m) { m["cases"][0]["input"] = "x"; }, {"cases[0].input"});
  test::write_file(manifest, "{");
  expect(verify(), 3, {manifest, "not valid JSON"});
  test::write_file(manifest, good);
  std::string bytes = test::read_file(file_);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  test::write_file(file_, bytes);
  expect(verify(), 3, {file_, "SHA-256"});
  fs::remove(file_);
  expect(verify(), 3, {file_, "no such file"});
  fs::remove(manifest);
  expect(verify(), 3, {folder_, "no manifest.json"});
}

TEST_F(Golden, BadCommandLines) {
  expect(verify({"--in", file_}), 2, {"--in", "--case"});
  expect(verify({"--case", "kivi"}), 2, {"--case 'kivi'"});
  expect(verify({"--tensors", "k.code"}), 2, {"--tensors 'k.code'", "'k.codes'"});
  expect(verify({"--in", dir_ / "absent", "--case", kCase}), 3, {"absent", "no such file"});
  const auto gen = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"gen", "--out", dir_ / "other"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = kvx_run(words);
    EXPECT_FALSE(fs::exists(dir_ / "other"));
    return outcome;
  };
  expect(gen({}), 2, {"--scheme is required"});
  expect(gen({"--scheme", "int4", "--fill", "heavi"}), 2, {"'heavi'", "heavy"});
  expect(gen({"--scheme", "int4", "--shape", "1x2x3"}), 2, {"--shape '1x2x3'"});
  expect(gen({"--scheme", "int4", "--shape", "65536x65536x65536x65536"}), 2, {"2^28"});
  expect(gen({"--scheme", "kivi:k2v2", "--shape", "1x1x4x48"}), 2, {"48"});
  expect(gen({"--scheme", "int4", "--fill", "rope-keys", "--shape", "1x1x1x7"}), 2, {"even"});
  expect(gen({"--scheme", "fp8:e4m3,scale=head,cal=#00000000"}), 3, {"#00000000", "--artifacts"});
  expect(kvx_run({"gen", "--scheme", "int4", "--out", folder_}), 2, {"manifest.json already"});
  expect(kvx_run({"gen", "--scheme", "int4", "--out", "/proc/kvx"}), 4, {"/proc/kvx"});
}

}  // namespace
}  // namespace kvx
