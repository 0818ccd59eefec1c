// The host side of the schemes' kernels against the reference: what is sealed and read when, bytes
// by item, image and canonical tensors. Needs no device.
#include <gtest/gtest.h>

#include <algorithm>

#include "gpu/registry.h"
#include "sim/api/error.h"
#include "tests/gpu/scheme_cases.h"
#include "tests/support/expect_refused.h"

namespace kvx {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};

class SchemeHost : public testing::TestWithParam<test::SchemeCase> {
 protected:
  const CacheConfig config_ = test::config_of(GetParam());
  const Descriptor descriptor_ = Descriptor::parse(GetParam().descriptor);
  const std::unique_ptr<gpu::SchemeKernels> kernels_ = gpu::make_kernels(descriptor_, config_);
  const std::unique_ptr<StoredCache> cache_ = ref::make_cache(descriptor_, config_);

  test::Tensor rows(Side side, int64_t length) const {
    return test::filled(gen::Fill::kNormal, 11, static_cast<uint32_t>(side), length,
                        GetParam().heads, GetParam().dim);
  }
  SeqId filled(int64_t length) {
    const SeqId seq = cache_->open();
    test::append(*cache_, seq, rows(Side::kK, length), rows(Side::kV, length), 0, length);
    return seq;
  }
  // As the reference lists them.
  int64_t outliers(SeqId seq, Side side) const {
    if (!kernels_->format(side).sparse) return 0;
    const auto tensors = test::exported(*cache_, seq);
    return tensors.at(std::string(side_name(side)) + ".outlier.index").shape[0];
  }
  bool bf16() const { return kernels_->traits().input == InputType::kBf16; }
};

TEST_P(SchemeHost, TraitsAndBits) {
  EXPECT_EQ(kernels_->traits().keys, cache_->traits().keys);
  EXPECT_EQ(kernels_->traits().input, cache_->traits().input);
  EXPECT_EQ(kernels_->traits().fixed_size, cache_->traits().fixed_size);
  EXPECT_EQ(kernels_->traits().query_dependent_read, cache_->traits().query_dependent_read);
  EXPECT_EQ(kernels_->traits().laws, cache_->traits().laws);
  for (const Side side : kSides)
    EXPECT_EQ(kernels_->nominal_bits(side), cache_->nominal_bits(side));
}

TEST_P(SchemeHost, SealsAndReadsWhatTheReferenceDoes) {
  const SeqId seq = filled(1);
  for (int64_t length = 1; length < 300;) {
    for (const Side side : kSides) {
      const gpu::SealRule& rule = kernels_->format(side).rule;
      // What kernels count as sealed: the sink too.
      const auto count = [&](const ReadMap& map) {
        int64_t tokens = 0;
        for (const RowRange& range : map) {
          const bool sink = range.first == 0 && range.count <= rule.sink;
          tokens += range.held == Held::kSealed || sink ? range.count : 0;
        }
        return tokens;
      };
      ASSERT_EQ(rule.sealed(static_cast<int32_t>(length)), count(cache_->held(seq, side)))
          << side_name(side) << " length " << length;
      ASSERT_EQ(rule.read_sealed(static_cast<int32_t>(length - 1)),
                count(cache_->reads(seq, side, length - 1)))
          << side_name(side) << " query " << length - 1;
      ASSERT_EQ(kernels_->used(side, length, outliers(seq, side)).bytes,
                cache_->used(seq, side).bytes)
          << side_name(side) << " length " << length;
    }
    const int64_t count = length < 130 ? 1 : 7;
    const test::Tensor rows =
        test::filled(gen::Fill::kNormal, 5, 0, length + count, GetParam().heads, GetParam().dim);
    test::append(*cache_, seq, rows, rows, length, count);
    length += count;
  }
}

TEST_P(SchemeHost, ImageAndTensors) {
  for (const int64_t length : {1, 31, 32, 127, 300}) {
    const SeqId seq = filled(length);
    const auto tensors = test::exported(*cache_, seq);
    std::vector<std::byte> image;
    std::map<std::string, test::Exported> exported;
    for (const Side side : kSides) {
      const std::vector<gpu::SealedHead> heads = test::sealed_heads(
          tensors, kernels_->format(side), config_, side, rows(side, length), length, bf16());
      const std::vector<std::byte> table = kernels_->table(side);
      image.insert(image.end(), table.begin(), table.end());
      kernels_->append_image(side, heads, image);
      const auto values = tensors.at(std::string(side_name(side)) + ".decoded").as<float>();
      for (int64_t h = 0; h < GetParam().heads; ++h) {
        const int64_t sink = kernels_->format(side).rule.sink;
        const int64_t first = sink > 0 ? 0 : heads[0].tokens;
        const int64_t end = sink > 0 ? std::min(sink, length) : length;
        for (int64_t at = first * GetParam().dim; at < end * GetParam().dim; ++at) {
          const uint16_t bits =
              num::f16_encode(values[static_cast<size_t>(h * length * GetParam().dim + at)]);
          image.push_back(static_cast<std::byte>(bits));
          image.push_back(static_cast<std::byte>(bits >> 8));
        }
      }
      kernels_->export_side(
          side, heads, length,
          [&](const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
              std::span<const std::byte> bytes) {
            exported[name] = {dtype, shape, {bytes.begin(), bytes.end()}};
          });
    }
    const std::vector<std::byte> expected = cache_->image(seq);
    ASSERT_EQ(image.size(), expected.size()) << length;
    const auto [a, b] = std::mismatch(image.begin(), image.end(), expected.begin());
    ASSERT_EQ(a, image.end()) << "length " << length << ", byte " << a - image.begin() << ": "
                              << std::to_integer<int>(*a) << " not " << std::to_integer<int>(*b);
    for (const auto& [name, tensor] : tensors) {
      if (name.ends_with(".decoded") || name.ends_with(".sealed")) continue;
      if (name.ends_with(".decoded_fp32")) {
        EXPECT_TRUE(kernels_->exports_unrounded());
        continue;
      }
      ASSERT_EQ(exported.count(name), 1u) << name;
      EXPECT_EQ(exported[name].dtype, tensor.dtype) << name;
      EXPECT_EQ(exported[name].shape, tensor.shape) << name;
      EXPECT_TRUE(exported[name].bytes == tensor.bytes) << name << ", length " << length;
      exported.erase(name);
    }
    EXPECT_TRUE(exported.empty()) << exported.begin()->first;
  }
}

INSTANTIATE_TEST_SUITE_P(All, SchemeHost, testing::ValuesIn(test::kSchemeCases));

// Both sides refuse the same in the same words.
TEST(SchemeHostRefusals, AreTheReferences) {
  const std::pair<const char*, int> cases[] = {
      {"int:k4v4,g12", 64},
      {"int:k4v4,kaxis=channel,g48", 64},
      {"kivi:k2v2,g64", 96},
      {"kivi:k2v2,g64,r32", 64},
      {"ggml:q4_0", 80},
      {"fp8:e4m3,scale=tensor", 64},
      {"fp8:e4m3,cal=#11111111", 64},
      {"fp8:e4m3,scale=tensor,cal=#33333333", 64},
      {"fp8:e4m3,scale=tensor,cal=#22222222", 64},
      {"fp8:e4m3,scale=head,cal=#11111111", 64},
      {"kvquant:nuq2", 64},
      {"kvquant:int3", 64},
      {"kvquant:int3,kaxis=token,cb=#00000003", 64},
      {"kvquant:nuq2,o0.011,cb=#00000002", 64},
      {"kvquant:nuq2,o1,kaxis=token,cb=#00000002", 64},
      {"kvquant:nuq2,cb=#00000003", 64},
      {"kvquant:nuq2,cb=#00000002", 72},
      {"kvquant:nf2,qnorm,cb=#00000002", 64},
      {"kvquant:nuq3,zr=fp16,profile=paper,cb=#00000003", 64},
      {"kvquant:int3,zr=fp16,kaxis=token", 64},
      {"kvquant:nuq3,profile=paper,cb=#00000013", 64},
      {"kvquant:nuq4,cb=#99999999", 64},
      {"kvquant:nuq2,o0.02,cb=#00000021", 64},
  };
  for (const auto& [text, dim] : cases) {
    const CacheConfig config = test::config_of({text, dim});
    const Descriptor descriptor = Descriptor::parse(text);
    const auto message = [&](auto make) -> std::string {
      try {
        make(descriptor, config);
      } catch (const Error& error) {
        return std::to_string(static_cast<int>(error.exit())) + " " + error.what();
      }
      return "";
    };
    const std::string expected = message(ref::make_cache);
    EXPECT_NE(expected, "") << text;
    EXPECT_EQ(message(gpu::make_kernels), expected) << text;
  }
}

// In the words of the reference.
TEST(SchemeHostRefusals, ArithmeticFixed) {
  const struct {
    const char *scheme, *why;
  } cases[] = {
      {"fp:f16", "it has no codes"},
      {"fp8:e4m3", "its codes are floats"},
      {"ggml:q4_0", "scales of its block formats may be negative"},
      {"int:k4v4,vaxis=channel", "its groups of V lie along tokens"},
      {"kvquant:int4", "its codes are places in a codebook"},
  };
  for (const auto& [scheme, why] : cases) {
    CacheConfig config = test::config_of({scheme, 64});
    config.arithmetic = Arithmetic::kFixed;
    const Descriptor descriptor = Descriptor::parse(scheme);
    test::expect_refused([&] { gpu::make_kernels(descriptor, config); },
                         {descriptor.str() + " has no arithmetic fixed: " + why}, Exit::kUsage);
  }
  for (const char* scheme : {"int:k4v4", "int:k3v2,kaxis=channel,sym", "kivi:k2v2"}) {
    CacheConfig config = test::config_of({scheme, 64});
    config.arithmetic = Arithmetic::kFixed;
    const Descriptor descriptor = Descriptor::parse(scheme);
    EXPECT_NE(gpu::make_kernels(descriptor, config), nullptr) << scheme;
    config.nonfinite = NonFinite::kPropagate;
    test::expect_refused([&] { gpu::make_kernels(descriptor, config); },
                         {"its numbers are finite, and others are to be let through"},
                         Exit::kUsage);
  }
}

TEST(SchemeHostRefusals, HeadDimsWithoutKernels) {
  for (const int dim : {4, 12, 264}) {
    EXPECT_THROW(gpu::make_kernels(Descriptor::parse("fp:f16"), test::config_of({"fp:f16", dim})),
                 Error);
  }
}

TEST(SchemeHostRegistry, HasKernels) {
  for (const char* scheme : {"fp", "int", "kivi", "fp8", "ggml", "kvquant"})
    EXPECT_TRUE(gpu::has_kernel(scheme)) << scheme;
  EXPECT_FALSE(gpu::has_kernel("none"));
}

}  // namespace
}  // namespace kvx
