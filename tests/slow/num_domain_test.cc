// All 2^32 inputs: the checksums of ieee.md (1.9) by the vectorised functions, the 16-bit formats
// against a second implementation, the smaller ones against their definition. The sums of chunks
// are added in their own order, so the number of threads does not matter.
#include <gtest/gtest.h>

#include <Eigen/Core>
#include <algorithm>
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

constexpr uint32_t kInfinity = 0x7F800000u;

// The codes of a piece that starts at pattern `first`. A code is kept up to the next rise;
// magnitudes from `end` on have the code `beyond`.
std::vector<uint8_t> codes_of(const std::vector<uint32_t>& rises, uint32_t first, uint32_t end,
                              int beyond) {
  const uint32_t low = first & 0x7FFFFFFFu;
  const auto at = [&](uint32_t magnitude) {  // its place in the piece
    return magnitude < low ? 0 : std::min<size_t>(magnitude - low, kPiece);
  };
  std::vector<uint8_t> codes(kPiece);
  auto next = std::upper_bound(rises.begin(), rises.end(), low);
  for (size_t i = 0; i < kPiece;) {
    const size_t stop = next == rises.end() ? kPiece : at(*next);
    std::fill(codes.begin() + static_cast<std::ptrdiff_t>(i),
              codes.begin() + static_cast<std::ptrdiff_t>(stop),
              static_cast<uint8_t>(next - rises.begin()));
    i = stop;
    if (next != rises.end()) ++next;
  }
  std::fill(codes.begin() + static_cast<std::ptrdiff_t>(at(end)), codes.end(),
            static_cast<uint8_t>(beyond));
  return codes;
}

int64_t count_different(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int64_t count = 0;
  for (size_t i = 0; i < kPiece; ++i) count += a[i] != b[i] ? 1 : 0;
  return count;
}

TEST(WholeDomain, MinifloatsAgainstTheirDefinition) {
  for (const test::MinifloatFormat& format : test::kMinifloats) {
    SCOPED_TRACE(format.name);
    const auto table =
        rises(format.largest, [&](int code) { return test::value_of(format, code); });
    expect_no_difference([&](const std::vector<float>& x) {
      std::vector<uint8_t> code(x.size());
      format.encode_span(x, code);
      // Every sign but a NaN's is kept.
      const auto first = std::bit_cast<uint32_t>(x[0]);
      std::vector<uint8_t> expected = codes_of(table, first, kInfinity + 1, format.nan);
      if (first >> 31 != 0)
        for (size_t i = 0; i < kPiece; ++i)
          expected[i] |= std::isnan(x[i]) ? 0 : static_cast<uint8_t>(format.sign());
      return count_different(code, expected);
    });
  }
}

TEST(WholeDomain, E8m0AgainstItsDefinition) {
  const auto value = [](int code) { return std::ldexp(1.0, code - 127); };
  const auto table = rises(254, value);
  std::vector<uint32_t> powers;  // where the power below rises
  for (int code = 1; code <= 254; ++code)
    powers.push_back(std::bit_cast<uint32_t>(static_cast<float>(value(code))));
  expect_no_difference([&](const std::vector<float>& x) {
    std::vector<uint8_t> code(x.size()), floor(x.size());
    for (size_t i = 0; i < kPiece; ++i) code[i] = e8m0_encode(x[i]);
    const auto first = std::bit_cast<uint32_t>(x[0]);
    if (first >> 31 != 0) {  // none but the zero is coded
      std::vector<uint8_t> none(kPiece, 0xFF);
      if (x[0] == 0) none[0] = 0x00;
      return count_different(code, none);
    }
    for (size_t i = 0; i < kPiece; ++i) floor[i] = e8m0_floor(x[i]);
    return count_different(code, codes_of(table, first, kInfinity + 1, 0xFF)) +
           count_different(floor, codes_of(powers, first, kInfinity, 0xFF));
  });
}

}  // namespace
}  // namespace kvx::num
