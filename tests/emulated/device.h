// A device on the host: runs kernels compiled as C++, a fiber per thread, so that the kernels' own
// source is tested bit for bit where there is no GPU.
//
// A thread runs until it has to wait for others: for its warp (shuffles, products, every
// operation of 32 lanes), its block, its cluster or copies. Then the next one runs. Nothing
// else changes hands between threads, so what a thread wrote without a barrier behind it is seen
// by some lanes and not by others, and what it had copied asynchronously is there only where it was
// waited for. The thread blocks of a cluster run side by side, clusters one after the other; the
// order of clusters, blocks, warps and lanes follows from the launch and a seed, the environment
// variable KVX_EMULATED_SEED. Shared memory starts as a pattern, between guards.
//
// Not seen: a barrier that is missing beside another operation of the same threads, which orders
// memory here and not on hardware; two kernels under way at once.
//
// A kernel that breaks a rule ends in a std::runtime_error from its launch, which names the
// threads, the operations that they wait in, and the lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace kvx::emulated {

// Where the running thread calls an operation: the default argument of it.
struct Place {
  const char* file = nullptr;
  int line = 0;

  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// What is in shared memory before it is written, and in copies' targets until they are waited for.
inline constexpr std::byte kPattern{0xFB};

struct Launch {
  unsigned grid[3], block[3];
  size_t shared_bytes = 0;
  unsigned cluster = 1;  // thread blocks side by side in x
  bool early = false;    // every thread must wait for the kernel in front
  const void* kernel = nullptr;
};
// Lets launches of a kernel ask for more shared memory than 48 KiB.
void allow_shared(const void* kernel, size_t bytes);
// Runs a kernel to its end.
void run(const Launch& launch, const std::function<void()>& kernel);

// The rest is called by a running thread.

// All lanes of the warp call `act` once, with what each gave. Another operation or another line in
// some lane, or a lane that never comes, is an error.
using Act = void (*)(void* const (&mine)[32]);
void meet_warp(const char* operation, Place place, void* mine, Act act);
// The same of a block, without an act.
void meet_block(const char* operation, Place place);
// Of all threads of a cluster that have not ended.
void meet_cluster(const char* operation, Place place);

// The running block's dynamic shared memory, and its variable of a name (a type), of so many bytes.
std::byte* dynamic_shared();
void* shared_variable(const void* name, size_t bytes);
// What `local`, in the running block's shared memory, is in that of another block of its cluster.
const std::byte* in_block(const void* local, int block);
// An address of `bytes` bytes in dynamic shared memory, as an offset; an error elsewhere, or where
// it is no multiple of `bytes`.
uint32_t shared_offset(const void* address, size_t bytes);

// Asynchronous copies, counted by a barrier in dynamic shared memory: a phase ends when as many
// bytes as were expected were asked for, in multiples of 16; the targets are a pattern until a
// thread has waited for the phase of their parity, 0 the first.
void init_copies(const void* barrier);
void expect_copies(const void* barrier, size_t bytes);
void begin_copy(void* to, const void* from, size_t bytes, const void* barrier);
void wait_for_copies(const void* barrier, uint32_t parity, Place place);
// The same for the running thread alone.
void begin_own_copy(void* to, const void* from, size_t bytes);
void wait_for_own_copies();

// The thread waits for the kernel in front.
void note_wait();

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace kvx::emulated
