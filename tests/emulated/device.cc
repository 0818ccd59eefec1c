#include "tests/emulated/device.h"

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/emulated/builtins.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace kvx::emulated {
namespace {

constexpr size_t kMostShared = 227 << 10;  // bytes of a block
constexpr size_t kGuard = 1 << 10;
constexpr std::byte kGuardByte{0xA7};
constexpr size_t kStackBytes = 256 << 10;

enum class State : uint8_t { kReady, kWarp, kBlock, kCluster, kCopies, kEnded };

struct Copy {
  std::byte* to;
  const std::byte* from;
  size_t bytes;
};

// A phase ends when it was expected and its bytes were asked for. `ready`: of the last one, until
// it is waited for.
struct CopyBarrier {
  uint32_t phase = 0;
  bool open = false;
  size_t missing = 0;  // bytes
  std::vector<Copy> asked, ready;
};

// Whether a phase of a parity has ended.
bool ended(const CopyBarrier& barrier, uint32_t parity) { return barrier.phase % 2 != parity; }

struct Block;
struct Thread {
  State state = State::kReady;
  const char* operation = "";
  Place place;
  void* mine = nullptr;
  Act act = nullptr;
  uint3 index = {};
  Block* block = nullptr;
  bool waited = false;
  const CopyBarrier* copies = nullptr;  // that it waits for,
  uint32_t phase = 0;                   // of that parity
  std::vector<Copy> own;
};

struct Block {
  uint3 index = {};
  int rank = 0;
  size_t ended = 0;  // threads
  std::vector<Thread> threads;
  std::vector<int> warps;  // in the order in which they run
  int lanes[32];
  std::unique_ptr<std::byte[]> memory;
  std::byte* shared = nullptr;
  size_t shared_bytes = 0;
  std::map<const void*, std::unique_ptr<std::byte[]>> variables;
  std::map<const void*, CopyBarrier> barriers;
  std::vector<Block>* cluster = nullptr;
};

// A fiber runs the threads that are given to it, one after the other.
class Fiber {
  using Stacks = boost::context::protected_fixedsize_stack;

 public:
  Fiber() : Fiber(Stacks(kStackBytes)) {}
  explicit Fiber(Stacks stacks)
      : fiber_(std::allocator_arg, staggered(stacks.allocate()), stacks,
               [this](boost::context::fiber&& scheduler) {
                 scheduler_ = std::move(scheduler);
                 for (;;) {
                   try {
                     (*kernel_)();
                   } catch (const std::exception&) {
                     error_ = std::current_exception();
                   }
                   thread_->state = State::kEnded;
                   stop();
                 }
                 return std::move(scheduler_);
               }) {}
  void give(Thread* thread, const std::function<void()>* kernel) {
    thread_ = thread, kernel_ = kernel;
  }
  void resume() {
    fiber_ = std::move(fiber_).resume();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  // Of the fiber that runs.
  void stop() { scheduler_ = std::move(scheduler_).resume(); }

 private:
  // Stacks that begin at the same place of a page would fight for the same lines of the cache.
  static boost::context::preallocated staggered(const boost::context::stack_context& stack) {
    static size_t count = 0;
    const size_t skipped = count++ % 64 * 1088;
    return {static_cast<std::byte*>(stack.sp) - skipped, stack.size - skipped, stack};
  }

  Thread* thread_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::exception_ptr error_;
  boost::context::fiber fiber_, scheduler_;
};

// One kernel at a time.
Thread* running = nullptr;
Fiber* running_fiber = nullptr;

uint64_t seed() {
  const char* text = std::getenv("KVX_EMULATED_SEED");
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

std::map<const void*, size_t>& allowed_shared() {
  static std::map<const void*, size_t> bytes;
  return bytes;
}

class Order {
 public:
  // Of a launch: repeated, it runs in the same order, whatever ran before.
  Order(const Launch& launch, uint64_t seed) : state_(seed) {
    for (const uint64_t x : {uint64_t{launch.grid[0]}, uint64_t{launch.grid[1]},
                             uint64_t{launch.grid[2]}, uint64_t{launch.shared_bytes}})
      state_ = next() ^ x;
  }
  std::vector<int> of(int count) {
    std::vector<int> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[next() % i]);
    return order;
  }

 private:
  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

std::string where(const Thread& t) {
  const uint3 b = t.block->index;
  char text[400];
  const char* file = t.place.file == nullptr ? "" : t.place.file;
  if (const char* from = std::strstr(file, "gpu/")) file = from;
  std::snprintf(text, sizeof text, "block %u %u %u thread %u: %s%s%s:%d", b.x, b.y, b.z, t.index.x,
                t.state == State::kEnded ? "ended" : t.operation,
                t.state == State::kEnded ? ", last in " : " at ", file, t.place.line);
  return text;
}

bool same_place(const Thread& a, const Thread& b) {
  return a.act == b.act && a.place.line == b.place.line &&
         (a.place.file == b.place.file || std::strcmp(a.place.file, b.place.file) == 0);
}

class Cluster {
 public:
  Cluster(const Launch& launch, std::vector<Fiber>& fibers, std::vector<Block>& blocks)
      : launch_(launch), fibers_(fibers), blocks_(blocks) {}

  void run() {
    for (bool ended = false; !ended;) {
      bool progress = false;
      ended = true;
      for (Block& block : blocks_) {
        while (run_block(block)) progress = true;
        ended &= block.ended == block.threads.size();
      }
      if (pass(State::kCluster)) progress = true;
      if (!progress && !ended) stuck();
    }
  }

 private:
  bool run_block(Block& block) {
    bool progress = false;
    for (const int warp : block.warps)
      while (run_warp(block, warp)) progress = true;
    return meet(block) || progress;
  }
  bool run_warp(Block& block, int warp) {
    bool progress = false;
    int met = 0;
    Thread* const first = block.threads.data() + 32 * warp;
    for (const int lane : block.lanes) {
      Thread& t = first[lane];
      if (t.state == State::kReady || (t.state == State::kCopies && ended(*t.copies, t.phase))) {
        resume(t);
        progress = true;
      }
      met += t.state == State::kWarp ? 1 : 0;
    }
    if (met < 32) return progress;
    void* mine[32];
    for (int i = 0; i < 32; ++i) {
      if (!same_place(first[0], first[i]))
        fail("lanes of a warp in different operations:\n  %s\n  %s", where(first[0]).c_str(),
             where(first[i]).c_str());
      mine[i] = first[i].mine;
      first[i].state = State::kReady;
    }
    running = first;
    first->act(mine);
    return true;
  }
  void resume(Thread& t) {
    t.state = State::kReady;
    running = &t;
    threadIdx = t.index, blockIdx = t.block->index;
    running_fiber =
        &fibers_[static_cast<size_t>(t.block - blocks_.data()) * t.block->threads.size() +
                 static_cast<size_t>(&t - t.block->threads.data())];
    running_fiber->resume();
    if (t.state != State::kEnded) return;
    ++t.block->ended;
    if (launch_.early && !t.waited) fail("%s, without wait_for_predecessors()", where(t).c_str());
  }
  static bool meet(Block& block) {
    for (const Thread& t : block.threads) {
      if (t.state != State::kBlock) return false;
      if (!same_place(t, block.threads[0]))
        fail("threads of a block in different barriers:\n  %s\n  %s",
             where(block.threads[0]).c_str(), where(t).c_str());
    }
    for (Thread& t : block.threads) t.state = State::kReady;
    return true;
  }
  // Lets all threads of the cluster go on that have not ended, if all are in `state`.
  bool pass(State state) {
    bool any = false;
    for (const Block& block : blocks_)
      for (const Thread& t : block.threads) {
        if (t.state != state && t.state != State::kEnded) return false;
        any |= t.state == state;
      }
    for (Block& block : blocks_)
      for (Thread& t : block.threads)
        if (t.state == state) t.state = State::kReady;
    return any;
  }
  [[noreturn]] void stuck() const {
    std::string text;
    int lines = 0;
    for (const Block& block : blocks_)
      for (const Thread& t : block.threads) {
        const Thread* before = &t == block.threads.data() ? nullptr : &t - 1;
        if (before != nullptr && before->state == t.state && same_place(*before, t)) continue;
        if (++lines <= 24) text += "\n  from " + where(t);
      }
    fail("threads wait for others that never come:%s", text.c_str());
  }

  const Launch& launch_;
  std::vector<Fiber>& fibers_;
  std::vector<Block>& blocks_;
};

void set_up(Block& block, const Launch& launch, Order& order) {
  const size_t count = size_t{launch.block[0]} * launch.block[1] * launch.block[2];
  block.threads.assign(count, {});
  block.ended = 0;
  for (size_t i = 0; i < count; ++i) {
    Thread& t = block.threads[i];
    const auto n = static_cast<unsigned>(i);
    t.index = {n % launch.block[0], n / launch.block[0] % launch.block[1],
               n / launch.block[0] / launch.block[1]};
    t.block = &block;
  }
  block.warps = order.of(static_cast<int>(count / 32));
  const std::vector<int> lanes = order.of(32);
  std::copy(lanes.begin(), lanes.end(), block.lanes);
  if (block.memory == nullptr)
    block.memory = std::make_unique<std::byte[]>(kMostShared + 2 * kGuard + 1024);
  const auto at = reinterpret_cast<uintptr_t>(block.memory.get()) + kGuard;
  block.shared = block.memory.get() + kGuard + ((at + 1023) / 1024 * 1024 - at);
  block.shared_bytes = launch.shared_bytes;
  std::memset(block.shared - kGuard, static_cast<int>(kGuardByte), kGuard);
  std::memset(block.shared, static_cast<int>(kPattern), launch.shared_bytes);
  std::memset(block.shared + launch.shared_bytes, static_cast<int>(kGuardByte), kGuard);
  block.variables.clear();
  block.barriers.clear();
}

void check_guards(const Block& block) {
  for (const std::byte* guard : {block.shared - kGuard, block.shared + block.shared_bytes})
    for (size_t i = 0; i < kGuard; ++i)
      if (guard[i] != kGuardByte)
        fail("block %u %u %u wrote at %td of %zu bytes of shared memory", block.index.x,
             block.index.y, block.index.z, guard + i - block.shared, block.shared_bytes);
}

void stop(State state, const char* operation, Place place, void* mine = nullptr,
          Act act = nullptr) {
  running->state = state;
  running->mine = mine, running->act = act;
  running->operation = operation, running->place = place;
  running_fiber->stop();
}

}  // namespace

void fail(const char* format, ...) {
  char text[4000];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw std::runtime_error(std::string("emulated device: ") + text);
}

void allow_shared(const void* kernel, size_t bytes) {
  if (bytes > kMostShared) fail("%zu bytes of shared memory", bytes);
  allowed_shared()[kernel] = bytes;
}

void run(const Launch& launch, const std::function<void()>& kernel) {
  const size_t count = size_t{launch.block[0]} * launch.block[1] * launch.block[2];
  if (count == 0 || count % 32 != 0 || count > 1024) fail("a block of %zu threads", count);
  const auto allowed = allowed_shared().find(launch.kernel);
  if (launch.shared_bytes > (allowed == allowed_shared().end() ? 48u << 10 : allowed->second))
    fail("%zu bytes of shared memory, which nobody asked for", launch.shared_bytes);
  if (launch.grid[0] % launch.cluster != 0)
    fail("%u blocks in clusters of %u", launch.grid[0], launch.cluster);
  static std::vector<Fiber> fibers;
  static std::vector<Block> blocks;
  if (fibers.size() < count * launch.cluster) fibers = std::vector<Fiber>(count * launch.cluster);
  if (blocks.size() != launch.cluster) blocks = std::vector<Block>(launch.cluster);
  blockDim = {launch.block[0], launch.block[1], launch.block[2]};
  gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
  Order order(launch, seed());
  const unsigned in_x = launch.grid[0] / launch.cluster;
  try {
    for (const int i : order.of(static_cast<int>(in_x * launch.grid[1] * launch.grid[2]))) {
      const auto n = static_cast<unsigned>(i);
      const std::vector<int> ranks = order.of(static_cast<int>(launch.cluster));
      for (size_t b = 0; b < blocks.size(); ++b) {
        Block& block = blocks[b];
        set_up(block, launch, order);
        block.rank = ranks[b];
        block.index = {n % in_x * launch.cluster + static_cast<unsigned>(block.rank),
                       n / in_x % launch.grid[1], n / in_x / launch.grid[1]};
        block.cluster = &blocks;
        for (size_t t = 0; t < count; ++t) fibers[b * count + t].give(&block.threads[t], &kernel);
      }
      Cluster(launch, fibers, blocks).run();
      for (const Block& block : blocks) check_guards(block);
    }
  } catch (...) {
    fibers.clear();  // what they ran is given up
    throw;
  }
}

void meet_warp(const char* operation, Place place, void* mine, Act act) {
  stop(State::kWarp, operation, place, mine, act);
}
void meet_block(const char* operation, Place place) { stop(State::kBlock, operation, place); }
void meet_cluster(const char* operation, Place place) { stop(State::kCluster, operation, place); }

std::byte* dynamic_shared() { return running->block->shared; }
void* shared_variable(const void* name, size_t bytes) {
  auto& variable = running->block->variables[name];
  if (variable == nullptr) {
    variable = std::make_unique<std::byte[]>(bytes);
    std::memset(variable.get(), static_cast<int>(kPattern), bytes);
  }
  return variable.get();
}

const std::byte* in_block(const void* local, int block) {
  const Block& mine = *running->block;
  const auto* at = static_cast<const std::byte*>(local);
  for (const Block& other : *mine.cluster) {
    if (other.rank != block) continue;
    if (other.ended == other.threads.size())
      fail("block %d of the cluster has ended, and its shared memory is read", block);
    return other.shared + (at - mine.shared);
  }
  fail("block %d of a cluster of %zu", block, mine.cluster->size());
}

uint32_t shared_offset(const void* address, size_t bytes) {
  const Block& block = *running->block;
  const ptrdiff_t at = static_cast<const std::byte*>(address) - block.shared;
  if (at < 0 || static_cast<size_t>(at) + bytes > block.shared_bytes)
    fail("block %u %u %u thread %u: %td is no address in %zu bytes of shared memory", block.index.x,
         block.index.y, block.index.z, running->index.x, at, block.shared_bytes);
  if (static_cast<size_t>(at) % bytes != 0)
    fail("block %u %u %u thread %u: %zu bytes at %td of shared memory", block.index.x,
         block.index.y, block.index.z, running->index.x, bytes, at);
  return static_cast<uint32_t>(at);
}

namespace {

CopyBarrier& barrier_at(const void* barrier) {
  const auto at = running->block->barriers.find(barrier);
  if (at == running->block->barriers.end())
    fail("thread %u: no barrier of copies at %u", running->index.x, shared_offset(barrier, 8));
  return at->second;
}
void end_phase(CopyBarrier& barrier) {
  if (!barrier.open || barrier.missing > 0) return;
  if (!barrier.ready.empty()) fail("thread %u: copies that nobody waited for", running->index.x);
  barrier.ready.swap(barrier.asked);
  barrier.open = false;
  ++barrier.phase;
}

}  // namespace

void init_copies(const void* barrier) {
  shared_offset(barrier, 8);
  if (!running->block->barriers.try_emplace(barrier).second)
    fail("thread %u: a barrier of copies is there already", running->index.x);
}
void expect_copies(const void* barrier, size_t bytes) {
  CopyBarrier& b = barrier_at(barrier);
  if (b.open) fail("thread %u: a phase of copies is open already", running->index.x);
  b.open = true;
  b.missing = bytes;
  end_phase(b);
}
void begin_copy(void* to, const void* from, size_t bytes, const void* barrier) {
  CopyBarrier& b = barrier_at(barrier);
  if (bytes == 0 || bytes % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0)
    fail("thread %u copies %zu bytes from %p", running->index.x, bytes, from);
  shared_offset(to, 16);
  shared_offset(static_cast<std::byte*>(to) + bytes - 16, 16);
  if (!b.open || bytes > b.missing)
    fail("thread %u copies %zu bytes of %zu expected", running->index.x, bytes, b.missing);
  std::memset(to, static_cast<int>(kPattern), bytes);
  b.asked.push_back({static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes});
  b.missing -= bytes;
  end_phase(b);
}
void wait_for_copies(const void* barrier, uint32_t parity, Place place) {
  CopyBarrier& b = barrier_at(barrier);
  if (!ended(b, parity)) {
    running->copies = &b, running->phase = parity;
    stop(State::kCopies, "wait_for_copies", place);
  }
  for (const Copy& c : b.ready) std::memcpy(c.to, c.from, c.bytes);
  b.ready.clear();
}

void begin_own_copy(void* to, const void* from, size_t bytes) {
  shared_offset(to, bytes);
  if (reinterpret_cast<uintptr_t>(from) % bytes != 0)
    fail("thread %u copies %zu bytes from %p", running->index.x, bytes, from);
  std::memset(to, static_cast<int>(kPattern), bytes);
  running->own.push_back({static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes});
}
void wait_for_own_copies() {
  for (const Copy& c : running->own) std::memcpy(c.to, c.from, c.bytes);
  running->own.clear();
}

void note_wait() { running->waited = true; }

}  // namespace kvx::emulated
