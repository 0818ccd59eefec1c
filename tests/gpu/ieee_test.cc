// The functions of `ieee` on the device over their whole domains: the checksums of ieee.md (1.9),
// and the 16-bit formats against the CPU's.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <thread>
#include <vector>

#include "gpu/registry.h"
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
