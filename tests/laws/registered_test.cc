// The laws for every registered scheme: kCases must name descriptors that set every key.
#include <algorithm>
#include <set>

#include "tests/laws/cases.h"
#include "tests/laws/suite.h"

namespace kvx::laws {
namespace {

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const char* descriptor : kCases) all.push_back(registered(descriptor));
  for (const char* descriptor : kFixedCases)
    all.push_back(registered(descriptor, Arithmetic::kFixed));
  return all;
}

INSTANTIATE_TEST_SUITE_P(, Laws, testing::ValuesIn(subjects()), subject_name);

TEST(LawTable, CoversEverySchemeAndKey) {
  for (const SchemeSchema& schema : schemes()) {
    for (const KeySpec& key : schema.keys) {
      const bool set = std::any_of(std::begin(kCases), std::end(kCases), [&](const char* text) {
        const auto descriptor = Descriptor::parse(text);
        return descriptor.name() == schema.name && descriptor.get_word(key.name) != key.fallback;
      });
      EXPECT_TRUE(set) << schema.name << ": no case sets " << key.name;
    }
  }
}

TEST(LawTable, EveryLawIsClaimedButThese) {
  std::set<std::string> not_claimed;
  for (const Subject& subject : subjects()) {
    const LawSet laws = subject.make(Windows::kKept)->traits().laws;
    for (const Law law : {Law::kChunk, Law::kBatch, Law::kPrefix, Law::kMetadata, Law::kBytes}) {
      if (claims(laws, law)) continue;
      not_claimed.insert(std::string(Descriptor::parse(subject.descriptor).name()) + " " +
                         std::to_string(static_cast<int>(law)));
    }
  }
  // ggml: the codes are made with the scale before it is rounded to fp16, as the format says.
  EXPECT_EQ(not_claimed,
            (std::set<std::string>{"ggml " + std::to_string(static_cast<int>(Law::kMetadata))}));
}

}  // namespace
}  // namespace kvx::laws
