#include <gtest/gtest.h>

#include "eval/tasks/python_random.h"

namespace kvx::eval {
namespace {

// Expected values: CPython 3.11 and numpy 1.24.
TEST(PythonRandom, DrawsTheShotsOfPublishedPrompts) {
  PythonRandom random(1234);
  EXPECT_EQ(random.sample(7473, 5), (std::vector<size_t>{6374, 3610, 957, 61, 742}));
  EXPECT_EQ(random.sample(7473, 5), (std::vector<size_t>{7462, 6610, 4769, 286, 5501}));
  EXPECT_EQ(random.sample(7473, 5), (std::vector<size_t>{5677, 687, 806, 6279, 2905}));
}

TEST(PythonRandom, SamplesFromPoolsShufflesAndTakesLongNumbers) {
  PythonRandom random(42);
  std::vector<size_t> drawn;
  for (const size_t n : {1, 5, 20, 30, 100})
    for (const size_t x : random.sample(n, std::min<size_t>(n, 5))) drawn.push_back(x);
  EXPECT_EQ(drawn, (std::vector<size_t>{0, 0, 2, 4, 3,  1,  3, 17, 2,  13, 1,
                                        0, 2, 6, 7, 16, 77, 3, 71, 25, 91}));
  EXPECT_EQ(random.sample(80, 20), (std::vector<size_t>{69, 53, 28, 57, 75, 35, 0,  20, 54, 43,
                                                        74, 19, 27, 70, 13, 11, 48, 6,  22, 71}));
  std::vector<int> items{1, 2, 3, 4, 5, 6, 7};
  random.shuffle(items);
  EXPECT_EQ(items, (std::vector<int>{4, 2, 6, 1, 7, 5, 3}));
  EXPECT_EQ(random.below(uint64_t{1} << 40), 272886021765U);
}

TEST(PythonRandom, RefusesMoreThanThereAre) {
  PythonRandom random(1);
  EXPECT_THROW(random.sample(3, 4), std::logic_error);
  EXPECT_THROW(random.below(0), std::logic_error);
}

// As LongLoRA draws place and key of its first prompts.
TEST(NumpyRandom, DrawsPlaceAndKey) {
  NumpyRandom zero(0);
  EXPECT_EQ(zero.integer(0, 3072), 2732);
  EXPECT_EQ(zero.integer(1, 50000), 43568);
  NumpyRandom one(1);
  EXPECT_EQ(one.integer(0, 3072), 1061);
  EXPECT_EQ(one.integer(1, 50000), 33004);
  EXPECT_EQ(one.integer(7, 8), 7);
}

}  // namespace
}  // namespace kvx::eval
