// The functions of gpu/common/ieee.cuh over whole domains, for tests.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::test {

enum class DeviceFunction : uint8_t { kExp2, kExp, kSilu, kRsqrt, kSin, kCos };

// The checksum of all 2^32 inputs (ieee.md, 1.9).
uint64_t device_checksum(DeviceFunction function);

// Codes of the patterns [first, first + count) on the device, to host memory.
enum class SixteenBits : uint8_t { kF16, kBf16 };
void device_encode(SixteenBits format, uint32_t first, int64_t count, uint16_t* codes);
// Values of all 65536 codes, to host memory.
void device_decode(SixteenBits format, float* values);

// log64 of x, to host memory.
void device_log64(std::span<const double> x, double* out);

}  // namespace kvx::test
