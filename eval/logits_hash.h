// A 64-bit hash of logits, to compare passes that are too long to keep. Mixed by position, so it is
// made in any order and on any number of threads; all sums are modulo 2^64.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::eval {

// Of one row: the sum over i of mix(i, bits of logit i), every NaN as 7fffffff, with
// mix(i, b) = x after x = ((i+1) * 0x9E3779B97F4A7C15) xor (b * 0xD6E8FEB86659FD93), x ^= x >> 32,
// x *= 0xD6E8FEB86659FD93, x ^= x >> 29: the checksum of ieee.md, 1.9.
uint64_t row_hash(std::span<const float> logits);

// Of rows in order: the sum over r of (2r+1) * row_hash r.
uint64_t logits_hash(std::span<const uint64_t> rows);

}  // namespace kvx::eval
