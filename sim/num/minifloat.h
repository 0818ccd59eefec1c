// Float formats of 8 and 4 bits. e4m3 and e5m2 as in OCP 8-bit Floating Point (OFP8), e2m1 and e8m0
// as in OCP Microscaling Formats (MX) v1.0.
//
//   format  sign/exponent/mantissa bits, bias   largest       least normal  least    special codes
//   e4m3    1/4/3, 7                            448 (0x7E)    2^-6          2^-9     NaN 0x7F 0xFF
//   e5m2    1/5/2, 15                           57344 (0x7B)  2^-14         2^-16    Inf 0x7C 0xFC,
//                                                                                    NaN 0x7D-0x7F
//   e2m1    1/2/1, 1                            6 (0x7)       1             0.5      none
//   e8m0    0/8/0, 127                          2^127 (0xFE)  2^-127        2^-127   NaN 0xFF
//
// Encoding takes the nearest code, of two equally near ones the even one, and saturates: larger
// values and infinities give the largest finite code, never Inf. The sign bit is that of the input,
// zeros and values that round to zero included. NaN of either sign gives 0x7F (e4m3, e5m2), the
// largest value 0x7 (e2m1, which has no NaN), 0xFF (e8m0). Decoding is exact.
#pragma once

#include <cstdint>
#include <span>

namespace kvx::num {

uint8_t e4m3_encode(float x);
float e4m3_decode(uint8_t code);
uint8_t e5m2_encode(float x);
float e5m2_decode(uint8_t code);
uint8_t e2m1_encode(float x);     // 0 .. 15
float e2m1_decode(uint8_t code);  // the low four bits

// e8m0 has neither sign nor zero: zeros give the least code 0x00, negative values NaN.
uint8_t e8m0_encode(float x);
float e8m0_decode(uint8_t code);
// The largest power of two not above x > 0; below 2^-127 the least code. NaN and infinity give NaN.
uint8_t e8m0_floor(float x);

// The same over arrays of one length.
void e4m3_encode(std::span<const float> x, std::span<uint8_t> codes);
void e4m3_decode(std::span<const uint8_t> codes, std::span<float> x);
void e5m2_encode(std::span<const float> x, std::span<uint8_t> codes);
void e5m2_decode(std::span<const uint8_t> codes, std::span<float> x);
void e2m1_encode(std::span<const float> x, std::span<uint8_t> codes);
void e2m1_decode(std::span<const uint8_t> codes, std::span<float> x);

}  // namespace kvx::num
