// gguf_rows TYPE COLS: reads stored rows on stdin, writes them dequantised as binary32 on stdout.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
#include "sim/model/checkpoint/blocks.h"

int main(int argc, char** argv) {
  using kvx::model::DType;
  if (argc != 3) return 2;
  const std::string stored{std::istreambuf_iterator<char>(std::cin), {}};
  for (int i = 0; i <= static_cast<int>(DType::kQ6_K); ++i) {
    const DType dtype = static_cast<DType>(i);
    if (std::strcmp(kvx::model::dtype_name(dtype), argv[1]) != 0) continue;
    const int64_t cols = std::atoll(argv[2]);
    const auto shape = kvx::model::block_shape(dtype);
    const auto rows = static_cast<int64_t>(stored.size()) / (cols / shape.values * shape.bytes);
    const kvx::model::TensorRef tensor{"rows", dtype, rows, cols, std::as_bytes(std::span(stored)),
                                       0};
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      kvx::model::read_row(tensor, r, row);
      std::fwrite(row.data(), sizeof(float), row.size(), stdout);
    }
    return std::fflush(stdout) == 0 ? 0 : 4;
  }
  return 2;
}
