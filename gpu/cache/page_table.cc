#include "gpu/cache/page_table.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "sim/api/error.h"

namespace kvx::gpu {

PageTable::PageTable(int32_t slots, int32_t pages_per_slot, int32_t pages, int32_t page_tokens)
    : page_tokens_(page_tokens) {
  grow(slots, pages_per_slot, pages);
}

void PageTable::grow(int32_t slots, int32_t pages_per_slot, int32_t pages) {
  if (slots < slots_ || pages_per_slot < pages_per_slot_ || pages < page_count()) {
    throw std::logic_error("a page table does not shrink");
  }
  for (; slots_ < slots; ++slots_) free_slots_.push(slots_);
  pages_per_slot_ = pages_per_slot;
  for (int32_t page = page_count(); page < pages; ++page) free_pages_.push(page);
  users_.resize(static_cast<size_t>(pages));
}

const PageTable::Sequence& PageTable::find(SeqId seq) const {
  const auto found = sequences_.find(seq);
  if (found == sequences_.end()) throw std::logic_error("no such sequence");
  return found->second;
}

PageTable::Sequence& PageTable::find(SeqId seq) {
  return const_cast<Sequence&>(std::as_const(*this).find(seq));
}

std::vector<SeqId> PageTable::sequences() const {
  std::vector<SeqId> all;
  for (const auto& [seq, sequence] : sequences_) all.push_back(seq);
  return all;
}

SeqId PageTable::open() {
  if (free_slots_.empty()) {
    throw environment_error("cache pool: no room for another sequence: all " +
                            std::to_string(slots_) + " are open");
  }
  sequences_[next_].slot = free_slots_.top();
  free_slots_.pop();
  return next_++;
}

SeqId PageTable::fork(SeqId seq, int32_t writable, std::vector<PageCopy>& copies) {
  const int32_t length = find(seq).length;
  const int32_t used = pages_for(length);
  require_pages(pages_to_fork(seq, writable), length);
  const SeqId child = open();
  Sequence& to = find(child);
  const Sequence& from = find(seq);
  to.length = length;
  to.pages.assign(from.pages.begin(), from.pages.begin() + used);
  for (const int32_t page : to.pages) ++users_[static_cast<size_t>(page)];
  make_private(to, writable / page_tokens_, copies);
  return child;
}

void PageTable::close(SeqId seq) {
  const Sequence& sequence = find(seq);
  for (const int32_t page : sequence.pages) drop_page(page);
  free_slots_.push(sequence.slot);
  sequences_.erase(seq);
}

int32_t PageTable::pages_needed(SeqId seq, int32_t length, int32_t writable) const {
  const Sequence& sequence = find(seq);
  const auto have = static_cast<int32_t>(sequence.pages.size());
  int32_t needed = std::max(0, pages_for(length) - have);
  for (int32_t i = writable / page_tokens_; i < have; ++i) {
    if (users(sequence.pages[static_cast<size_t>(i)]) > 1) ++needed;
  }
  return needed;
}

int32_t PageTable::pages_to_fork(SeqId seq, int32_t writable) const {
  return std::max(0, pages_for(find(seq).length) - writable / page_tokens_);
}

bool PageTable::reserve(SeqId seq, int32_t length, int32_t writable,
                        std::vector<PageCopy>& copies) {
  Sequence& sequence = find(seq);
  const int32_t wanted = pages_for(length);
  if (wanted > pages_per_slot_) {
    throw environment_error("cache pool: a sequence of " + std::to_string(length) +
                            " tokens needs " + std::to_string(wanted) + " pages of " +
                            std::to_string(page_tokens_) + " tokens, one has room for " +
                            std::to_string(pages_per_slot_));
  }
  require_pages(pages_needed(seq, length, writable), length);
  bool changed = make_private(sequence, writable / page_tokens_, copies);
  while (static_cast<int32_t>(sequence.pages.size()) < wanted) {
    sequence.pages.push_back(take_page());
    changed = true;
  }
  return changed;
}

void PageTable::set_length(SeqId seq, int32_t length) {
  Sequence& sequence = find(seq);
  const int32_t used = pages_for(length);
  if (length < 0 || used > static_cast<int32_t>(sequence.pages.size())) {
    throw std::logic_error("set_length: tokens that are not reserved");
  }
  if (length < sequence.length) {
    for (auto i = static_cast<size_t>(used); i < sequence.pages.size(); ++i) {
      drop_page(sequence.pages[i]);
    }
    sequence.pages.resize(static_cast<size_t>(used));
  }
  sequence.length = length;
}

void PageTable::require_pages(int32_t needed, int32_t length) const {
  if (needed <= free_pages()) return;
  throw environment_error(
      "cache pool: a sequence of " + std::to_string(length) + " tokens needs " +
      std::to_string(needed) + " more pages of " + std::to_string(page_tokens_) + " tokens, " +
      std::to_string(free_pages()) + " of " + std::to_string(page_count()) + " are free; " +
      std::to_string(page_count() / std::max(1, pages_for(length))) +
      " sequences of that length fit");
}

int32_t PageTable::take_page() {
  const int32_t page = free_pages_.top();
  free_pages_.pop();
  users_[static_cast<size_t>(page)] = 1;
  return page;
}

void PageTable::drop_page(int32_t page) {
  if (--users_[static_cast<size_t>(page)] == 0) free_pages_.push(page);
}

bool PageTable::make_private(Sequence& sequence, int32_t first, std::vector<PageCopy>& copies) {
  bool changed = false;
  for (auto i = static_cast<size_t>(first); i < sequence.pages.size(); ++i) {
    int32_t& page = sequence.pages[i];
    if (users(page) == 1) continue;
    const int32_t own = take_page();
    copies.push_back({.from = page, .to = own});
    drop_page(page);
    page = own;
    changed = true;
  }
  return changed;
}

}  // namespace kvx::gpu
