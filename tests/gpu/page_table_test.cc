// The page table against a model that keeps what every page would hold: whatever sequences do,
// each finds its own tokens, and no page is lost or used twice.
#include "gpu/cache/page_table.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "gpu/cache/layout.h"
#include "sim/api/error.h"
#include "tests/support/property.h"

namespace kvx::gpu {
namespace {

[[maybe_unused]] const bool kFixed = test::fix_properties("seed=20240131 max_success=300");

constexpr int32_t kPageTokens = 4;

std::vector<int32_t> pages_of(const PageTable& table, SeqId seq) {
  const auto pages = table.pages(seq);
  return {pages.begin(), pages.end()};
}

// A pool whose tokens are numbers.
class Model {
 public:
  Model(int32_t slots, int32_t pages_per_slot, int32_t pages, SealRule rule)
      : table_(slots, pages_per_slot, pages, kPageTokens), memory_(pages), rule_(rule) {}

  void open() {
    const bool room = table_.open_sequences() < table_.slots();
    attempt(room, [&] { tokens_[table_.open()]; });
  }

  void fork(SeqId seq) {
    const int32_t length = table_.length(seq);
    const bool room = table_.open_sequences() < table_.slots() &&
                      table_.pages_to_fork(seq, rule_.sealed(length)) <= table_.free_pages();
    attempt(room, [&] {
      std::vector<PageCopy> copies;
      const SeqId child = table_.fork(seq, rule_.sealed(length), copies);
      copy(copies);
      tokens_[child] = tokens_.at(seq);
    });
  }

  void close(SeqId seq) {
    table_.close(seq);
    tokens_.erase(seq);
  }

  // As a pass: seals tokens that the rule says, which are read back from then on.
  void append(SeqId seq, int32_t count) {
    const int32_t length = table_.length(seq), after = length + count;
    const int32_t writable = rule_.sealed(length);
    const bool room = after <= table_.pages_per_slot() * kPageTokens &&
                      table_.pages_needed(seq, after, writable) <= table_.free_pages();
    attempt(room, [&] {
      std::vector<PageCopy> copies;
      const auto before = pages_of(table_, seq);
      const bool changed = table_.reserve(seq, after, writable, copies);
      RC_ASSERT(changed == (before != pages_of(table_, seq)));
      copy(copies);
      std::vector<int>& tokens = tokens_.at(seq);
      for (int32_t i = 0; i < count; ++i) tokens.push_back(next_++);
      for (int32_t t = writable; t < rule_.sealed(after); ++t) {
        const int32_t page = pages_of(table_, seq).at(static_cast<size_t>(t / kPageTokens));
        RC_ASSERT(table_.users(page) == 1);
        memory_.at(static_cast<size_t>(page))[t % kPageTokens] = tokens.at(static_cast<size_t>(t));
      }
      table_.set_length(seq, after);
    });
  }

  void truncate(SeqId seq, int32_t length) {
    const int32_t sealed = rule_.sealed(table_.length(seq));
    if (rule_.sealed(length) < std::min(sealed, length)) return;  // a cache refuses
    table_.set_length(seq, length);
    tokens_.at(seq).resize(static_cast<size_t>(length));
  }

  void grow(int32_t slots, int32_t pages_per_slot, int32_t pages) {
    table_.grow(table_.slots() + slots, table_.pages_per_slot() + pages_per_slot,
                table_.page_count() + pages);
    memory_.resize(static_cast<size_t>(table_.page_count()));
  }

  void check() const {
    std::map<int32_t, int32_t> users;
    std::set<int32_t> slots;
    RC_ASSERT(table_.sequences().size() == tokens_.size());
    for (const auto& [seq, tokens] : tokens_) {
      const auto pages = pages_of(table_, seq);
      RC_ASSERT(table_.length(seq) == static_cast<int32_t>(tokens.size()));
      RC_ASSERT(pages.size() * kPageTokens >= tokens.size());
      RC_ASSERT(slots.insert(table_.slot(seq)).second);
      RC_ASSERT(table_.slot(seq) >= 0 && table_.slot(seq) < table_.slots());
      RC_ASSERT(std::set<int32_t>(pages.begin(), pages.end()).size() == pages.size());
      for (const int32_t page : pages) ++users[page];
      for (int32_t t = 0; t < rule_.sealed(table_.length(seq)); ++t) {
        const auto page = static_cast<size_t>(pages[static_cast<size_t>(t / kPageTokens)]);
        RC_ASSERT(memory_.at(page)[t % kPageTokens] == tokens[static_cast<size_t>(t)]);
      }
    }
    for (int32_t page = 0; page < table_.page_count(); ++page) {
      RC_ASSERT(table_.users(page) == (users.count(page) != 0 ? users.at(page) : 0));
    }
    RC_ASSERT(table_.free_pages() + static_cast<int32_t>(users.size()) == table_.page_count());
  }

  std::vector<SeqId> sequences() const { return table_.sequences(); }
  int32_t length(SeqId seq) const { return table_.length(seq); }

 private:
  struct Page {
    int token[kPageTokens] = {-1, -1, -1, -1};
    int& operator[](int32_t i) { return token[i]; }
    int operator[](int32_t i) const { return token[i]; }
  };

  // Where there is no room the action is an environment Error and changes nothing.
  template <class Action>
  void attempt(bool room, Action&& action) {
    const auto state = [this] {
      std::map<SeqId, std::vector<int32_t>> all;
      for (const SeqId seq : table_.sequences()) all[seq] = pages_of(table_, seq);
      return std::pair(all, table_.free_pages());
    };
    const auto before = state();
    try {
      action();
      RC_ASSERT(room);
    } catch (const Error& error) {
      RC_ASSERT(!room);
      RC_ASSERT(error.exit() == Exit::kEnvironment);
      RC_ASSERT(state() == before);
    }
  }

  void copy(const std::vector<PageCopy>& copies) {
    for (const PageCopy& page : copies) {
      memory_.at(static_cast<size_t>(page.to)) = memory_.at(static_cast<size_t>(page.from));
    }
  }

  PageTable table_;
  std::vector<Page> memory_;
  SealRule rule_;
  std::map<SeqId, std::vector<int>> tokens_;
  int next_ = 0;
};

TEST(PageTable, SequencesKeepTheirTokens) {
  test::check_property([] {
    const auto draw = [](int32_t least, int32_t end, const char* what) {
      return *rc::gen::inRange(least, end).as(what);
    };
    const SealRule rules[] = {{.unit = 1},
                              {.unit = 1, .lag = 1},
                              {.unit = 2},
                              {.unit = 1, .window = 5},
                              {.unit = 6, .lag = 1}};
    Model model(draw(1, 5, "slots"), draw(1, 7, "pages of a slot"), draw(1, 16, "pages"),
                rules[draw(0, 5, "rule")]);
    const int32_t steps = draw(0, 60, "steps");
    for (int32_t step = 0; step < steps; ++step) {
      const auto open = model.sequences();
      const int32_t action = draw(0, 10, "action");
      if (open.empty() || action == 0) {
        model.open();
      } else if (action == 1 && draw(0, 4, "whether to grow") == 0) {
        model.grow(draw(0, 2, "more slots"), draw(0, 3, "longer"), draw(0, 4, "more pages"));
      } else {
        const SeqId seq =
            open[static_cast<size_t>(draw(0, static_cast<int32_t>(open.size()), "which sequence"))];
        if (action < 6) model.append(seq, draw(0, 10, "tokens"));
        if (action == 6 || action == 7) model.fork(seq);
        if (action == 8) model.truncate(seq, draw(0, model.length(seq) + 1, "to length"));
        if (action == 9) model.close(seq);
      }
      model.check();
    }
    for (const SeqId seq : model.sequences()) model.close(seq);
    model.check();
  });
}

TEST(PageTable, GivesPagesAndSlotsFromTheLowest) {
  PageTable table(3, 4, 12, kPageTokens);
  std::vector<PageCopy> copies;
  const SeqId a = table.open(), b = table.open();
  EXPECT_TRUE(table.reserve(a, 9, 0, copies));
  EXPECT_FALSE(table.reserve(a, 12, 0, copies));
  EXPECT_TRUE(table.reserve(b, 1, 0, copies));
  EXPECT_EQ(pages_of(table, a), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(pages_of(table, b), (std::vector<int32_t>{3}));
  table.close(a);
  EXPECT_EQ(table.slot(table.open()), 0);
  EXPECT_TRUE(table.reserve(b, 8, 0, copies));
  EXPECT_EQ(pages_of(table, b), (std::vector<int32_t>{3, 0}));
  EXPECT_TRUE(copies.empty());
}

TEST(PageTable, ForksShareWhatIsSealedAndCopyTheRest) {
  PageTable table(3, 4, 12, kPageTokens);
  std::vector<PageCopy> copies;
  const SeqId a = table.open();
  table.reserve(a, 16, 0, copies);
  table.set_length(a, 10);
  const SeqId b = table.fork(a, 7, copies);
  EXPECT_EQ(pages_of(table, b), (std::vector<int32_t>{0, 4, 5}));
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0].from, 1);
  EXPECT_EQ(copies[0].to, 4);
  EXPECT_EQ(table.users(0), 2);
  EXPECT_EQ(table.users(1), 1);

  // Cut back into the shared page, the fork needs a page of its own before it writes.
  table.set_length(b, 2);
  copies.clear();
  EXPECT_EQ(table.pages_needed(b, 3, 2), 1);
  EXPECT_TRUE(table.reserve(b, 3, 2, copies));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, 0);
  EXPECT_EQ(table.users(0), 1);
}

template <class Action>
std::string refusal(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(PageTable, RefusalsSayWhatIsNeededAndWhatFits) {
  PageTable table(1, 8, 5, kPageTokens);
  std::vector<PageCopy> copies;
  const SeqId a = table.open();
  EXPECT_EQ(refusal([&] { table.open(); }),
            "cache pool: no room for another sequence: all 1 are open");
  table.reserve(a, 8, 0, copies);
  EXPECT_EQ(refusal([&] { table.reserve(a, 24, 0, copies); }),
            "cache pool: a sequence of 24 tokens needs 4 more pages of 4 tokens, 3 of 5 are free; "
            "0 sequences of that length fit");
  EXPECT_EQ(refusal([&] { table.reserve(a, 33, 0, copies); }),
            "cache pool: a sequence of 33 tokens needs 9 pages of 4 tokens, one has room for 8");
}

TEST(PageTable, ClosedSequencesAndUnreservedTokensAreLogicErrors) {
  PageTable table(1, 8, 5, kPageTokens);
  const SeqId a = table.open();
  EXPECT_THROW(table.set_length(a, 1), std::logic_error);
  table.close(a);
  EXPECT_THROW(table.length(a), std::logic_error);
  EXPECT_THROW(table.close(a), std::logic_error);
  EXPECT_THROW(table.grow(1, 8, 4), std::logic_error);
  EXPECT_NE(table.open(), a);
}

}  // namespace
}  // namespace kvx::gpu
