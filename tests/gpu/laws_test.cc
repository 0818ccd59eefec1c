// The laws on device caches, for the descriptors of the reference's.
#include <memory>
#include <string>
#include <vector>

#include "tests/gpu/absent.h"
#include "tests/gpu/device_caches.h"
#include "tests/laws/cases.h"
#include "tests/laws/suite.h"

namespace kvx::laws {
namespace {

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const char* descriptor : kCases) {
    Subject subject = registered(descriptor);
    subject.name = "cuda_" + subject.name;
    subject.make = [descriptor](Windows windows) {
      return test::make_on_device(
          {.descriptor = descriptor, .kv_heads = kHeads, .head_dim = kDim, .windows = windows});
    };
    subject.absent = test::absent_on_device(descriptor);
    all.push_back(subject);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(, Laws, testing::ValuesIn(subjects()), subject_name);

}  // namespace
}  // namespace kvx::laws
