// GoogleTest's own main answers 0 when nothing ran; this one does not.
#include <gtest/gtest.h>

#include <cstdio>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc > 1) {
    std::fprintf(stderr, "unknown argument '%s'\n", argv[1]);
    return 2;
  }
  const bool listing = testing::GTEST_FLAG(list_tests);
  const int result = RUN_ALL_TESTS();
  if (!listing && testing::UnitTest::GetInstance()->test_to_run_count() == 0) {
    std::fprintf(stderr, "no test ran\n");
    return 1;
  }
  return result;
}
