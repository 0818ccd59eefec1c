// All 2^32 inputs: the checksums of ieee.md (1.9) by the vectorised functions, the 16-bit formats
// against a second implementation, the smaller ones against their definition. The sums of chunks
// are added in their own order, so the number of threads does not matter.
#include <gtest/gtest.h>

#include <Eigen/Core>
#include <atomic>
#include <bit>
#include <cmath>
#include <thread>
#include <vector>

#include "sim/num/elementary.h"
#include "sim/num/formats.h"
#include "tests/support/minifloat.h"

namespace kvx::num {
namespace {

constexpr size_t kChunk = size_t{1} << 20;
constexpr size_t kChunks = 4096;
constexpr size_t kPiece = 4096;  // patterns at a time

uint64_t mix(uint64_t i, float result) {
  const uint64_t b = std::isnan(result) ? 0x7fffffffu : std::bit_cast<uint32_t>(result);
  uint64_t x = ((i + 1) * 0x9E3779B97F4A7C15u) ^ (b * 0xD6E8FEB86659FD93u);
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  return x ^ (x >> 29);
}

// Calls work(chunk) for all chunks on as many threads as the machine has.
template <class Work>
void for_chunks(Work work) {
  std::atomic<size_t> next{0};
  const auto loop = [&] {
    for (size_t chunk = next++; chunk < kChunks; chunk = next++) work(chunk);
  };
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
    threads.emplace_back(loop);
}

std::vector<float> patterns(size_t first) {
  std::vector<float> x(kPiece);
  for (size_t i = 0; i < kPiece; ++i) x[i] = std::bit_cast<float>(static_cast<uint32_t>(first + i));
  return x;
}

// run(first pattern, results): the results of kPiece patterns from the first on.
template <class Run>
uint64_t checksum(Run run) {
  std::vector<uint64_t> sums(kChunks);
  for_chunks([&](size_t chunk) {
    std::vector<float> out(kPiece);
    uint64_t sum = 0;
    for (size_t first = chunk * kChunk; first < (chunk + 1) * kChunk; first += kPiece) {
      run(first, out);
      for (size_t i = 0; i < kPiece; ++i) sum += mix(first + i, out[i]);
    }
    sums[chunk] = sum;
  });
  uint64_t total = 0;
  for (size_t chunk = 0; chunk < kChunks; ++chunk) total += (2 * chunk + 1) * sums[chunk];
  return total;
}

TEST(WholeDomain, Exp2) {
  EXPECT_EQ(checksum([](size_t first, std::vector<float>& out) { exp2(patterns(first), out); }),
            0x30400eac4109f3a2u);
}

TEST(WholeDomain, Exp) {
  EXPECT_EQ(checksum([](size_t first, std::vector<float>& out) { exp(patterns(first), out); }),
            0x3dc6702413a8136eu);
}

TEST(WholeDomain, Silu) {
  EXPECT_EQ(checksum([](size_t first, std::vector<float>& out) { silu(patterns(first), out); }),
            0xc6c7c68e436c9618u);
}

TEST(WholeDomain, Rsqrt) {
  EXPECT_EQ(checksum([](size_t first, std::vector<float>& out) {
              for (size_t i = 0; i < kPiece; ++i)
                out[i] = rsqrt(std::bit_cast<float>(static_cast<uint32_t>(first + i)));
            }),
            0x0a68d05d4a7f8116u);
}

void phases(size_t first, std::vector<float>& sin, std::vector<float>& cos) {
  std::vector<uint32_t> phase(kPiece);
  for (size_t i = 0; i < kPiece; ++i) phase[i] = static_cast<uint32_t>(first + i);
  sincos_phase(phase, sin, cos);
}

TEST(WholeDomain, SinOfPhase) {
  EXPECT_EQ(checksum([](size_t first, std::vector<float>& out) {
              std::vector<float> cos(kPiece);
              phases(first, out, cos);
            }),
            0x3c05d84f51d5aed1u);
}

TEST(WholeDomain, CosOfPhase) {
  EXPECT_EQ(checksum([](size_t first, std::vector<float>& out) {
              std::vector<float> sin(kPiece);
              phases(first, sin, out);
            }),
            0x558b6030f6f2d740u);
}

// Calls difference(piece of patterns) for all, and expects no differences.
template <class Difference>
void expect_no_difference(Difference difference) {
  std::atomic<int64_t> differences{0};
  for_chunks([&](size_t chunk) {
    int64_t count = 0;
    for (size_t first = chunk * kChunk; first < (chunk + 1) * kChunk; first += kPiece)
      count += difference(patterns(first));
    differences += count;
  });
  EXPECT_EQ(differences, 0);
}

// The integer recipe against the processor's conversion, NaN payloads included.
TEST(WholeDomain, F16EncodeAgainstTheProcessor) {
  expect_no_difference([](const std::vector<float>& x) {
    std::vector<uint16_t> code(x.size());
    f16_encode(x, code);
    int64_t count = 0;
    for (size_t i = 0; i < x.size(); ++i) count += f16_encode(x[i]) != code[i] ? 1 : 0;
    return count;
  });
}

// Eigen makes one NaN of all.
TEST(WholeDomain, Bf16EncodeAgainstEigen) {
  expect_no_difference([](const std::vector<float>& x) {
    std::vector<uint16_t> code(x.size());
    bf16_encode(x, code);
    int64_t count = 0;
    for (size_t i = 0; i < x.size(); ++i)
      count += std::isnan(x[i])
                   ? !std::isnan(bf16_decode(code[i])) || std::signbit(x[i]) != (code[i] >> 15)
                   : Eigen::bfloat16(x[i]).value != code[i];
    return count;
  });
}

// Where the code rises, by the definition: patterns[c] is the least pattern of a positive value
// that encodes to more than c, as ties go to the even code. value(c): of code c, in binary64.
template <class Value>
std::vector<uint32_t> rises(int largest, Value value) {
  std::vector<uint32_t> result;
  for (int code = 0; code < largest; ++code) {
    const auto middle = static_cast<float>((value(code) + value(code + 1)) / 2);  // exact
    result.push_back(std::bit_cast<uint32_t>(middle) + (code % 2 == 0 ? 1 : 0));
  }
  return result;
}

// The code of a positive pattern; `at`, which walks upwards, is kept from call to call.
int risen(const std::vector<uint32_t>& rises, uint32_t pattern, size_t& at) {
  while (at < rises.size() && rises[at] <= pattern) ++at;
  while (at > 0 && rises[at - 1] > pattern) --at;
  return static_cast<int>(at);
}

TEST(WholeDomain, MinifloatsAgainstTheirDefinition) {
  for (const test::MinifloatFormat& format : test::kMinifloats) {
    SCOPED_TRACE(format.name);
    const auto table =
        rises(format.largest, [&](int code) { return test::value_of(format, code); });
    expect_no_difference([&](const std::vector<float>& x) {
      std::vector<uint8_t> code(x.size());
      format.encode_span(x, code);
      int64_t count = 0;
      size_t at = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const uint32_t pattern = std::bit_cast<uint32_t>(x[i]);
        const int expected = std::isnan(x[i]) ? format.nan
                                              : risen(table, pattern & 0x7FFFFFFFu, at) |
                                                    (pattern >> 31 != 0 ? format.sign() : 0);
        count += expected != code[i] ? 1 : 0;
      }
      return count;
    });
  }
}

TEST(WholeDomain, E8m0AgainstItsDefinition) {
  const auto table = rises(254, [](int code) { return std::ldexp(1.0, code - 127); });
  expect_no_difference([&](const std::vector<float>& x) {
    int64_t count = 0;
    size_t at = 0;
    for (const float value : x) {
      const bool none = std::isnan(value) || value < 0;
      const int expected = none ? 0xFF : risen(table, std::bit_cast<uint32_t>(std::abs(value)), at);
      count += e8m0_encode(value) != expected ? 1 : 0;
      // The power below: its code's value is not above, the next one's is.
      const int floor = e8m0_floor(value);
      const bool right = none || std::isinf(value) ? floor == 0xFF
                         : value < 0x1p-127f       ? floor == 0
                                                   : std::ldexp(1.0f, floor - 127) <= value &&
                                                   std::ldexp(1.0f, floor - 126) > value;
      count += right ? 0 : 1;
    }
    return count;
  });
}

}  // namespace
}  // namespace kvx::num
