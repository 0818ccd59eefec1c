// The emulated device by itself: what lanes exchange, and that every rule of device.h is held.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "gpu/common/shared_memory.cuh"
#include "gpu/fused/cluster_memory.cuh"
#include "gpu/fused/mma.cuh"

namespace kvx::test {
namespace {

using emulated::Launch;

Launch launch(unsigned threads, size_t shared = 0, unsigned blocks = 1, unsigned cluster = 1) {
  return {
      .grid = {blocks, 1, 1}, .block = {threads, 1, 1}, .shared_bytes = shared, .cluster = cluster};
}

// What the device says of a kernel; empty where it runs to its end.
std::string refusal(const Launch& launch, const std::function<void()>& kernel) {
  try {
    emulated::run(launch, kernel);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

int lane() { return static_cast<int>(threadIdx.x % 32); }

TEST(EmulatedDevice, LanesExchange) {
  int wrong = 0;
  emulated::run(launch(64), [&] {
    const int thread = static_cast<int>(threadIdx.x);
    wrong += __shfl_sync(~0u, thread, 5) != thread / 32 * 32 + 5;
    wrong += __shfl_xor_sync(~0u, thread, 8) != (thread ^ 8);
    wrong += __reduce_max_sync(~0u, static_cast<unsigned>(thread)) !=
             static_cast<unsigned>(thread / 32 * 32 + 31);
    wrong += __reduce_max_sync(~0u, -thread) != -(thread / 32 * 32);
    wrong += __reduce_add_sync(~0u, 1u << 31) != 0u;
    wrong += __any_sync(~0u, thread == 40) != thread / 32;
  });
  EXPECT_EQ(wrong, 0);
}

// Against sums over the matrices that the lanes' words are cut from.
TEST(EmulatedDevice, Products) {
  int wrong = 0;
  const auto a = [](int i, int k) { return 8 * i + k; };
  const auto b = [](bool is_signed, int k, int j) { return is_signed ? k - 17 * j : 200 + k + j; };
  emulated::run(launch(32), [&] {
    const int g = lane() / 4, t = lane() % 4;
    for (const bool is_signed : {false, true}) {
      uint32_t rows[4] = {}, columns[2] = {};
      for (int i = 0; i < 4; ++i) {
        for (int part = 0; part < 4; ++part)
          rows[part] |= static_cast<uint32_t>(a(g + part % 2 * 8, part / 2 * 16 + 4 * t + i) & 255)
                        << 8 * i;
        for (int part = 0; part < 2; ++part)
          columns[part] |= static_cast<uint32_t>(b(is_signed, part * 16 + 4 * t + i, g) & 255)
                           << 8 * i;
      }
      int c[4] = {1, 2, 3, 4};
      if (is_signed) {
        gpu::fused::multiply_signed(c, rows[0], rows[1], rows[2], rows[3], columns[0], columns[1]);
      } else {
        gpu::fused::multiply_unsigned(c, rows[0], rows[1], rows[2], rows[3], columns[0],
                                      columns[1]);
      }
      for (int i = 0; i < 4; ++i) {
        int sum = 1 + i;
        for (int k = 0; k < 32; ++k) sum += a(g + i / 2 * 8, k) * b(is_signed, k, 2 * t + i % 2);
        wrong += c[i] != sum;
      }
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(EmulatedDevice, TransposedLoads) {
  int wrong = 0;
  emulated::run(launch(32, 512), [&] {
    auto* const element = gpu::dynamic_shared<uint16_t>();  // [matrix][row][column]
    for (int i = 0; i < 8; ++i) element[8 * lane() + i] = static_cast<uint16_t>(100 * lane() + i);
    __syncwarp();
    uint32_t r[4];
    gpu::fused::load_transposed(element + 8 * lane(), r);
    const int g = lane() / 4, t = lane() % 4;
    for (int matrix = 0; matrix < 4; ++matrix)
      wrong += r[matrix] != static_cast<uint32_t>(100 * (8 * matrix + 2 * t) + g) +
                                (static_cast<uint32_t>(100 * (8 * matrix + 2 * t + 1) + g) << 16);
  });
  EXPECT_EQ(wrong, 0);
}

TEST(EmulatedDevice, LanesMustMeet) {
  EXPECT_NE(refusal(launch(32), [] { lane() == 3 ? __syncwarp() : void(__any_sync(~0u, 1)); })
                .find("lanes of a warp in different operations"),
            std::string::npos);
  const std::string text = refusal(launch(64), [] {
    if (threadIdx.x == 7) return;
    __syncwarp();
  });
  EXPECT_NE(text.find("never come"), std::string::npos);
  EXPECT_NE(text.find("thread 7: ended"), std::string::npos) << text;
  EXPECT_NE(refusal(launch(64),
                    [] {
                      if (threadIdx.x < 32) __syncthreads();
                    })
                .find("never come"),
            std::string::npos);
  EXPECT_NE(refusal(launch(32), [] { __shfl_sync(0xFFFFu, 1, 0); }).find("some lanes"),
            std::string::npos);
  EXPECT_EQ(refusal(launch(32), [] { __syncwarp(); }), "");  // the device goes on after an error
}

// What another thread writes is not seen by all without a barrier.
TEST(EmulatedDevice, BarriersOrder) {
  for (const bool barrier : {true, false}) {
    int wrong = 0;
    emulated::run(launch(128, 512), [&] {
      auto* const x = gpu::dynamic_shared<uint32_t>();
      x[threadIdx.x] = threadIdx.x;
      if (barrier) __syncthreads();
      wrong += x[127 - threadIdx.x] != 127 - threadIdx.x;
    });
    EXPECT_EQ(wrong == 0, barrier);
  }
}

TEST(EmulatedDevice, CopiesArriveWhenWaitedFor) {
  alignas(16) const uint32_t from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  uint32_t seen[4] = {};
  const auto kernel = [&](bool wait) {
    auto* const to = gpu::dynamic_shared<uint32_t>();
    auto* const barrier = gpu::dynamic_shared<gpu::fused::CopyBarrier>() + 4;
    const bool mine = gpu::fused::elected();
    if (mine) gpu::fused::init_copies(barrier, 1);
    __syncwarp();
    for (uint32_t phase = 0; phase < 2; ++phase) {
      if (mine) {
        to[0] = 9;
        gpu::fused::expect(barrier, 32);
        gpu::fused::copy(to, from + 4 * phase, 16, barrier);
        gpu::fused::copy(to + 4, from, 16, barrier);
        seen[2 * phase] = to[0];
      }
      if (wait) gpu::fused::wait_for_copies(barrier, phase);
      seen[2 * phase + 1] = to[0];
      __syncwarp();
    }
  };
  const Launch one = launch(32, 64);
  emulated::run(one, [&] { kernel(true); });
  EXPECT_EQ(std::vector<uint32_t>(seen, seen + 4),
            (std::vector<uint32_t>{0xFBFBFBFBu, 1, 0xFBFBFBFBu, 5}));
  EXPECT_NE(refusal(one, [&] { kernel(false); }).find("nobody waited for"), std::string::npos);
  const auto after_begin = [](int bytes) {
    auto* const barrier = gpu::dynamic_shared<gpu::fused::CopyBarrier>();
    if (!gpu::fused::elected()) return;
    gpu::fused::init_copies(barrier, 1);
    gpu::fused::expect(barrier, 16);
    alignas(16) const uint32_t x[8] = {};
    if (bytes > 0) gpu::fused::copy(barrier + 2, x, bytes, barrier);
    gpu::fused::wait_for_copies(barrier, 0);
  };
  EXPECT_NE(refusal(one, [&] { after_begin(0); }).find("never come"), std::string::npos);
  EXPECT_NE(refusal(one, [&] { after_begin(32); }).find("32 bytes of 16 expected"),
            std::string::npos);
}

TEST(EmulatedDevice, SharedMemoryEnds) {
  EXPECT_NE(refusal(launch(32, 64), [] { gpu::dynamic_shared<int>()[16] = 1; })
                .find("wrote at 64 of 64 bytes"),
            std::string::npos);
  EXPECT_NE(refusal(launch(32, 64),
                    [] {
                      uint32_t r[4];
                      gpu::fused::load_transposed(gpu::dynamic_shared<int>() + 4 * lane(), r);
                    })
                .find("is no address"),
            std::string::npos);
  EXPECT_NE(refusal(launch(32, 64 << 10), [] {}).find("nobody asked for"), std::string::npos);
}

TEST(EmulatedDevice, ClustersShare) {
  float got[4] = {};
  const auto kernel = [&](bool stay) {
    float& own = *gpu::dynamic_shared<float>();
    own = static_cast<float>(blockIdx.x);
    int& variable = gpu::shared_variable<int>();
    variable = static_cast<int>(blockIdx.x);
    gpu::fused::sync_cluster();
    got[blockIdx.x] = gpu::fused::load_remote(&own, static_cast<int>(blockIdx.x ^ 1) % 2) +
                      static_cast<float>(variable != static_cast<int>(blockIdx.x));
    if (stay) gpu::fused::sync_cluster();
  };
  emulated::run(launch(32, 16, 4, 2), [&] { kernel(true); });
  EXPECT_EQ(std::vector<float>(got, got + 4), (std::vector<float>{1, 0, 3, 2}));
  EXPECT_NE(refusal(launch(32, 16, 4, 2), [&] { kernel(false); }).find("has ended"),
            std::string::npos);
}

}  // namespace
}  // namespace kvx::test
