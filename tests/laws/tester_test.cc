// The laws as a test sees them: caches that break a law are caught, the case is shrunk, and the
// line that is printed runs the same case again.
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "tests/support/process.h"

namespace kvx::laws {
namespace {

struct Outcome {
  int exit;
  std::string output;
  std::string repro;           // what follows "repro: "
  std::string counterexample;  // from the drawn values to the failed assertion
};

Outcome run(const std::vector<std::string>& arguments) {
  test::Process process(arguments);
  Outcome result{process.wait(), process.out() + process.err(), "", ""};
  const std::string& text = result.output;
  const size_t repro = text.find("repro: ");
  if (repro == std::string::npos) return result;
  result.repro = text.substr(repro + 7, text.find('\n', repro) - repro - 7);
  const size_t draws = text.find("\n\n", text.find("Falsifiable after"));
  result.counterexample = text.substr(draws, repro - draws);
  return result;
}

struct Broken {
  const char* law;
  const char* subject;
  const char* shrunk;  // part of the smallest case
};

void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.law; }

class BrokenCache : public testing::TestWithParam<Broken> {};

TEST_P(BrokenCache, IsCaughtShrunkAndReproduced) {
  const std::string id = std::string("Laws.") + GetParam().law + "/" + GetParam().subject;
  const Outcome first = run({KVX_LAWS_BROKEN, "--gtest_filter=" + id});
  EXPECT_EQ(first.exit, 1) << first.output;
  ASSERT_NE(first.repro, "") << first.output;
  EXPECT_NE(first.repro.find("RC_PARAMS='reproduce="), std::string::npos) << first.repro;
  EXPECT_NE(first.repro.find("--gtest_filter='" + id + "'"), std::string::npos) << first.repro;
  EXPECT_NE(first.counterexample.find(GetParam().shrunk), std::string::npos)
      << first.counterexample;

  const Outcome again = run({"/bin/sh", "-c", first.repro});
  EXPECT_EQ(again.exit, 1) << again.output;
  EXPECT_EQ(again.counterexample, first.counterexample);
  // At once, and not by searching again.
  EXPECT_NE(again.output.find("Falsifiable after 1 tests"), std::string::npos) << again.output;
}

INSTANTIATE_TEST_SUITE_P(
    , BrokenCache,
    testing::Values(Broken{"ChunkInvariance", "LongChunksAreSpoilt", "chunk:\n"},
                    Broken{"BatchIndependence", "CompanySpoils", "tokens of a sequence:\n1\n"},
                    Broken{"PrefixStability", "SealedBytesChange", "length:\n64\n"},
                    Broken{"StoredMetadataConsistency", "CodesAreNotThoseOfTheScale",
                           "length:\n10\n"},
                    Broken{"ByteHonesty", "CountsAByteTooMany", "length:\n51\n"},
                    Broken{"AttentionReadsWhatReadsSays", "AttentionIsOff", "seed:\n0\n"},
                    Broken{"ForksAreIndependent", "ForksDieTogether",
                           "length:\n0\n\ntokens after the fork:\n1\n"},
                    Broken{"TruncatingGivesAFreshCacheOrARefusal", "TruncatesOneTokenLess",
                           "truncated to:\n21\n"},
                    Broken{"CanonicalTensorsRebuildTheImage", "ImportsOnlyKeys", "length:\n1\n"}),
    [](const auto& tested) { return std::string(tested.param.subject); });

TEST(BrokenCaches, TheirWrapperAloneBreaksNothing) {
  const Outcome whole = run({KVX_LAWS_BROKEN, "--gtest_filter=Laws.*/Nothing"});
  EXPECT_EQ(whole.exit, 0) << whole.output;
  EXPECT_NE(whole.output.find("[  PASSED  ] 9 tests"), std::string::npos) << whole.output;
}

}  // namespace
}  // namespace kvx::laws
