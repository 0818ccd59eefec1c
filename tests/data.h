// Development data for tests: the folder named by KVX_DATA, and real checkpoints in the one named
// by KVX_MODELS.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace kvx::test {

inline std::string data_path(const char* variable, const std::string& relative) {
  const char* root = std::getenv(variable);
  if (root == nullptr) return {};
  const std::filesystem::path path = std::filesystem::path(root) / relative;
  return std::filesystem::exists(path) ? path.string() : std::string();
}

}  // namespace kvx::test

// Declares `path`, or skips the test saying what is absent.
#define KVX_NEED_DATA(path, relative)                                    \
  const std::string path = ::kvx::test::data_path("KVX_DATA", relative); \
  if (path.empty()) GTEST_SKIP() << "needs " << relative << " under the folder named by KVX_DATA"
#define KVX_NEED_MODEL(path, relative)                                     \
  const std::string path = ::kvx::test::data_path("KVX_MODELS", relative); \
  if (path.empty()) GTEST_SKIP() << "needs " << relative << " under the folder named by KVX_MODELS"
