#include "tests/emulated/matrix.h"

#include <cstring>

#include "tests/emulated/builtins.h"

namespace kvx::emulated {
namespace {

struct Operands {
  int (*c)[4];
  std::array<uint32_t, 4> a;
  std::array<uint32_t, 2> b;
};

uint8_t byte_of(uint32_t word, int i) { return static_cast<uint8_t>(word >> (8 * i)); }

}  // namespace

template <class A, class B>
void multiply(int (&c)[4], std::array<uint32_t, 4> a, std::array<uint32_t, 2> b, Place place) {
  Operands mine{&c, a, b};
  of_warp("mma", place, mine, [](Operands*(&lanes)[32]) {
    A rows[16][32];
    B columns[8][32];
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      for (int i = 0; i < 4; ++i) {
        for (int part = 0; part < 4; ++part)
          rows[g + part % 2 * 8][part / 2 * 16 + 4 * t + i] =
              static_cast<A>(byte_of(lanes[lane]->a[static_cast<size_t>(part)], i));
        for (int part = 0; part < 2; ++part)
          columns[g][part * 16 + 4 * t + i] =
              static_cast<B>(byte_of(lanes[lane]->b[static_cast<size_t>(part)], i));
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      for (int i = 0; i < 4; ++i) {
        const A* row = rows[g + i / 2 * 8];
        const B* column = columns[2 * t + i % 2];
        int sum = 0;
        for (int k = 0; k < 32; ++k) sum += row[k] * column[k];
        int& to = (*lanes[lane]->c)[i];
        to = static_cast<int>(static_cast<uint32_t>(to) + static_cast<uint32_t>(sum));
      }
    }
  });
}
template void multiply<uint8_t, int8_t>(int (&)[4], std::array<uint32_t, 4>,
                                        std::array<uint32_t, 2>, Place);
template void multiply<uint8_t, uint8_t>(int (&)[4], std::array<uint32_t, 4>,
                                         std::array<uint32_t, 2>, Place);
template void multiply<int8_t, uint8_t>(int (&)[4], std::array<uint32_t, 4>,
                                        std::array<uint32_t, 2>, Place);

void load_transposed(const void* row, uint32_t (&r)[4], Place place) {
  shared_offset(row, 16);
  struct Mine {
    uint16_t row[8];  // as the lane finds it: the load orders nothing
    uint32_t (*r)[4];
  } mine{{}, &r};
  std::memcpy(mine.row, row, sizeof mine.row);
  of_warp("ldmatrix", place, mine, [](Mine*(&lanes)[32]) {
    for (int matrix = 0; matrix < 4; ++matrix)
      for (int lane = 0; lane < 32; ++lane) {
        const int g = lane / 4, t = lane % 4;
        const uint16_t low = lanes[8 * matrix + 2 * t]->row[g];
        const uint16_t high = lanes[8 * matrix + 2 * t + 1]->row[g];
        (*lanes[lane]->r)[matrix] = low | static_cast<uint32_t>(high) << 16;
      }
  });
}

}  // namespace kvx::emulated
