#include "eval/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "sim/api/error.h"

namespace kvx::eval {

std::string wikitext_rows_joined(std::string_view raw) {
  std::string text;
  text.reserve(raw.size() + raw.size() / 64);
  for (size_t begin = 0; begin < raw.size();) {
    const size_t newline = raw.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? raw.size() : newline + 1;
    const std::string_view row = raw.substr(begin, end - begin);
    if (begin > 0) text += "\n\n";
    if (row.find_first_not_of(" \t\r\n\v\f") != std::string_view::npos) text += row;
    begin = end;
  }
  return text;
}

std::vector<std::string> text_files(std::span<const std::string> paths) {
  namespace fs = std::filesystem;
  std::vector<fs::path> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.emplace_back(path);
      continue;
    }
    const size_t before = files.size();
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      if (it->is_regular_file() && !it->path().filename().string().starts_with('.'))
        files.push_back(it->path());
    }
    if (error) throw environment_error(fmt::format("{}: {}", path, error.message()));
    if (files.size() == before) throw environment_error(fmt::format("{}: no files", path));
  }
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return std::pair(a.filename(), a) < std::pair(b.filename(), b);
  });
  return {files.begin(), files.end()};
}

std::vector<int32_t> token_ids(const model::Tokenizer& tokenizer, std::string_view text,
                               const std::string& data_path, const std::string& model_path,
                               int64_t vocab, bool add_bos) {
  std::vector<int32_t> ids;
  try {
    ids = tokenizer.encode(text, add_bos, false);
  } catch (const Error& error) {
    throw Error(error.exit(), fmt::format("{}: {}", data_path, error.what()));
  }
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab)
      throw environment_error(
          fmt::format("{}: the tokenizer gives id {}, the model has {}", model_path, id, vocab));
  return ids;
}

}  // namespace kvx::eval
