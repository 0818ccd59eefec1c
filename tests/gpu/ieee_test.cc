// The functions of `ieee` on the device over their whole domains: the checksums of ieee.md (1.9),
// and the 16-bit formats against the CPU's.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "gpu/registry.h"
#include "sim/num/elementary.h"
#include "sim/num/formats.h"
#include "tests/gpu/ieee_kernels.h"

namespace kvx::test {
namespace {

class DeviceIeee : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_F(DeviceIeee, WholeDomainChecksums) {
  EXPECT_EQ(device_checksum(DeviceFunction::kExp2), 0x30400eac4109f3a2u);
  EXPECT_EQ(device_checksum(DeviceFunction::kExp), 0x3dc6702413a8136eu);
  EXPECT_EQ(device_checksum(DeviceFunction::kSilu), 0xc6c7c68e436c9618u);
  EXPECT_EQ(device_checksum(DeviceFunction::kRsqrt), 0x0a68d05d4a7f8116u);
  EXPECT_EQ(device_checksum(DeviceFunction::kSin), 0x3c05d84f51d5aed1u);
  EXPECT_EQ(device_checksum(DeviceFunction::kCos), 0x558b6030f6f2d740u);
}

// The table of ieee.md 1.6, what is no positive number, and patterns of all exponents as the CPU.
TEST_F(DeviceIeee, Logarithms) {
  const auto log64 = [](const std::vector<double>& x) {
    std::vector<double> out(x.size());
    device_log64(x, out.data());
    return out;
  };
  const auto bits = [](double x) { return x != x ? ~0ull : std::bit_cast<uint64_t>(x); };
  const std::vector<std::pair<double, uint64_t>> table = {
      {1.5, 0x3fd9f323ecbf984c},
      {2, 0x3fe62e42fefa39ef},
      {10, 0x40026bb1bbb55515},
      {0x1.6666666666666p-1, 0xbfd6d3c324e13f50},
      {10000, 0x40226bb1bbb55515},
      {128256, 0x402786087e2da908},
      {0x1.0000000000001p+0, 0x3cb0000000000000}};
  std::vector<double> x;
  for (const auto& entry : table) x.push_back(entry.first);
  const std::vector<double> known = log64(x);
  for (size_t i = 0; i < table.size(); ++i) EXPECT_EQ(bits(known[i]), table[i].second) << x[i];

  constexpr double kInf = std::numeric_limits<double>::infinity();
  x = {0.0, -0.0, 1.0, kInf, -kInf, -1.0, kInf - kInf, 0x1p-1074, 0x1.fffffffffffffp-1023};
  uint64_t state = 1;
  for (int i = 0; i < 100000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x.push_back(std::bit_cast<double>(state >> 1));
  }
  const std::vector<double> got = log64(x);
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(bits(got[i]), bits(num::log64(x[i]))) << x[i];
}

// Codes of [first, first + out.size()) by the CPU, on all its threads.
void cpu_encode(SixteenBits format, uint32_t first, std::vector<uint16_t>& out) {
  constexpr size_t kPiece = 4096;
  const size_t team = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::jthread> threads;
  for (size_t t = 0; t < team; ++t) {
    threads.emplace_back([&, t] {
      std::vector<float> x(kPiece);
      for (size_t at = t * kPiece; at < out.size(); at += team * kPiece) {
        for (size_t i = 0; i < kPiece; ++i)
          x[i] = std::bit_cast<float>(first + static_cast<uint32_t>(at + i));
        const std::span<uint16_t> to(out.data() + at, kPiece);
        format == SixteenBits::kF16 ? num::f16_encode(x, to) : num::bf16_encode(x, to);
      }
    });
  }
}

TEST_F(DeviceIeee, EncodesEveryPatternAsTheCpu) {
  constexpr uint32_t kPart = 1u << 26;
  std::vector<uint16_t> device(kPart), cpu(kPart);
  for (const SixteenBits format : {SixteenBits::kF16, SixteenBits::kBf16}) {
    for (uint64_t first = 0; first < uint64_t{1} << 32; first += kPart) {
      device_encode(format, static_cast<uint32_t>(first), kPart, device.data());
      cpu_encode(format, static_cast<uint32_t>(first), cpu);
      const auto [at, other] = std::ranges::mismatch(device, cpu);
      ASSERT_EQ(at, device.end()) << std::hex << "format " << static_cast<int>(format)
                                  << ", pattern " << first + (at - device.begin()) << ": device "
                                  << *at << ", cpu " << *other;
    }
  }
}

TEST_F(DeviceIeee, DecodesEveryCodeAsTheCpu) {
  for (const SixteenBits format : {SixteenBits::kF16, SixteenBits::kBf16}) {
    std::vector<float> values(65536);
    device_decode(format, values.data());
    for (uint32_t code = 0; code < 65536; ++code) {
      const auto half = static_cast<uint16_t>(code);
      const float expected =
          format == SixteenBits::kF16 ? num::f16_decode(half) : num::bf16_decode(half);
      if (expected != expected && values[code] != values[code]) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(values[code]), std::bit_cast<uint32_t>(expected))
          << std::hex << "format " << static_cast<int>(format) << ", code " << code;
    }
  }
}

}  // namespace
}  // namespace kvx::test
