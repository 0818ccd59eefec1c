// Which pages of device memory each sequence has: the bookkeeping of a cache pool, on the host
// alone. A page that several sequences share is never written: whoever is about to write one gets
// a page of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <queue>
#include <span>
#include <vector>

#include "sim/api/cache.h"

namespace kvx::gpu {

// Contents to be copied before the next write.
struct PageCopy {
  int32_t from = 0;
  int32_t to = 0;
};

class PageTable {
 public:
  PageTable(int32_t slots, int32_t pages_per_slot, int32_t pages, int32_t page_tokens);

  // An empty sequence in the lowest free slot. Throws an environment Error where none is free.
  SeqId open();
  // A sequence of the same length. Pages all of whose tokens are below `writable` are shared; of
  // the others it gets copies, which `copies` receives. Throws as `open` and `reserve` do, then
  // nothing has changed.
  SeqId fork(SeqId seq, int32_t writable, std::vector<PageCopy>& copies);
  void close(SeqId seq);

  int32_t length(SeqId seq) const { return find(seq).length; }
  int32_t slot(SeqId seq) const { return find(seq).slot; }
  std::span<const int32_t> pages(SeqId seq) const { return find(seq).pages; }
  std::vector<SeqId> sequences() const;  // open ones
  int32_t open_sequences() const { return static_cast<int32_t>(sequences_.size()); }

  // Gives the sequence pages for `length` tokens, those that hold tokens from `writable` on to
  // itself alone; `copies` receives the contents to be copied. Whether its pages changed. Throws an
  // environment Error naming what was needed and free and the batch that fits; then nothing has
  // changed.
  bool reserve(SeqId seq, int32_t length, int32_t writable, std::vector<PageCopy>& copies);
  // Free pages that `reserve`, or `fork`, would take.
  int32_t pages_needed(SeqId seq, int32_t length, int32_t writable) const;
  int32_t pages_to_fork(SeqId seq, int32_t writable) const;

  // At most what is reserved. A shorter sequence gives back the pages that it no longer needs.
  void set_length(SeqId seq, int32_t length);

  // To at least as many as there are.
  void grow(int32_t slots, int32_t pages_per_slot, int32_t pages);

  int32_t slots() const { return slots_; }
  int32_t pages_per_slot() const { return pages_per_slot_; }
  int32_t page_count() const { return static_cast<int32_t>(users_.size()); }
  int32_t free_pages() const { return static_cast<int32_t>(free_pages_.size()); }
  int32_t users(int32_t page) const { return users_[static_cast<size_t>(page)]; }

 private:
  struct Sequence {
    int32_t slot = 0;
    int32_t length = 0;
    std::vector<int32_t> pages;
  };
  using Lowest = std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>>;

  const Sequence& find(SeqId seq) const;
  Sequence& find(SeqId seq);
  int32_t pages_for(int32_t tokens) const {
    return tokens / page_tokens_ + (tokens % page_tokens_ != 0 ? 1 : 0);
  }
  // Throws where `needed` pages, for a sequence of `length` tokens, are not free.
  void require_pages(int32_t needed, int32_t length) const;
  int32_t take_page();
  void drop_page(int32_t page);
  // Replaces shared pages from index `first` on.
  bool make_private(Sequence& sequence, int32_t first, std::vector<PageCopy>& copies);

  int32_t slots_ = 0;
  int32_t pages_per_slot_ = 0;
  int32_t page_tokens_ = 1;
  std::vector<int32_t> users_;  // by page
  Lowest free_pages_;
  Lowest free_slots_;
  std::map<SeqId, Sequence> sequences_;
  SeqId next_ = 0;
};

}  // namespace kvx::gpu
