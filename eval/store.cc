#include "eval/store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "eval/files.h"
#include "sim/api/error.h"

static_assert(std::endian::native == std::endian::little);

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;

void make_folder(const std::string& path) {
  std::error_code error;
  const bool made = fs::create_directories(path, error);
  if (error) throw not_saved_error(fmt::format("{}: {}", path, error.message()));
  if (made) sync_folder((fs::path(path) / "..").string());
}

// Names in a folder.
std::vector<std::string> entries_of(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  if (error) throw not_saved_error(fmt::format("{}: {}", path, error.message()));
  return names;
}

// What a killed process was writing.
void remove_temporaries(const std::string& folder) {
  for (const std::string& name : entries_of(folder))
    if (name.ends_with(".tmp") && ::unlink((folder + "/" + name).c_str()) != 0)
      throw cannot_save(folder + "/" + name);
}

// An existing folder must be a run's, or empty but for what a run that died early leaves: its lock,
// its temporary files, and the artifacts that `kvx reproduce` makes first.
void check_folder(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  if (!fs::is_directory(path, error))
    throw usage_error(fmt::format("--out {}: not a folder", path));
  const std::vector<std::string> names = entries_of(path);
  if (std::find(names.begin(), names.end(), "run.json") != names.end()) return;
  for (const std::string& name : names)
    if (name != "lock" && name != "artifacts" && !name.ends_with(".tmp"))
      throw usage_error(
          fmt::format("--out {}: holds {} but no run.json; use a new or empty folder", path, name));
}

void check_same(const std::string& file, const std::string& where, const Json& then,
                const Json& now) {
  for (const auto& [name, value] : now.items()) {
    const bool known = then.contains(name);
    const Json old = known ? then.at(name) : Json();
    // A null that was written is a field that nothing there, or nothing now, depends on.
    if (known && (old.is_null() || value.is_null())) continue;
    if (!known || old != value)
      throw usage_error(fmt::format("{}: {}.{} is {} there and {} now; use another --out", file,
                                    where, name, json_text(old, -1), json_text(value, -1)));
  }
}

void check_identity(const std::string& file, const Json& then, const Json& now) {
  check_same(file, "identity", then.at("identity"), now.at("identity"));
  for (const auto& [task, identity] : now.at("tasks").items())
    if (then.at("tasks").contains(task))
      check_same(file, "tasks." + task, then.at("tasks").at(task), identity);
  for (const std::string old : then.at("schemes"))
    for (const std::string scheme : now.at("schemes"))
      if (old != scheme && scheme_label(old) == scheme_label(scheme))
        throw usage_error(fmt::format("{}: schemes has {} there and {} now; use another --out",
                                      file, old, scheme));
}

void unite(Json& list, const Json& more) {
  for (const Json& item : more)
    if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

std::string line_of(const Record& record) { return json_text(to_json(record), -1) + "\n"; }

// What was asked for of each task: lists grow, counts rise.
void grow(Json& measured, const Json& more) {
  for (const auto& [task, asked] : more.items()) {
    if (!measured.contains(task)) measured[task] = Json::object();
    Json& all = measured[task];
    for (const auto& [name, value] : asked.items()) {
      if (value.is_array()) {
        if (!all.contains(name)) all[name] = Json::array();
        unite(all[name], value);
      } else {
        all[name] = std::max(all.value(name, int64_t{0}), value.get<int64_t>());
      }
    }
  }
}

}  // namespace

RunFolder::RunFolder(const std::string& path, const Json& header, const Note& note) : path_(path) {
  check_folder(path);
  make_folder(path);
  try {
    lock();
    std::error_code error;
    if (fs::exists(file("run.json"), error)) {
      merge_header(header);
    } else {
      header_ = header;
    }
    write_file(file("run.json"), json_text(header_, 2) + "\n");
    make_folder(file("positions"));
    remove_temporaries(path_);
    remove_temporaries(file("positions"));
    load_results(note);
    sync_folder(path_);
  } catch (...) {
    if (results_ >= 0) ::close(results_);
    if (lock_ >= 0) ::close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() {
  ::close(results_);
  ::close(lock_);
}

void RunFolder::lock() {
  const std::string name = file("lock");
  lock_ = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw cannot_save(name);
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 300> owner{};
    const ssize_t n = ::pread(lock_, owner.data(), owner.size() - 1, 0);
    throw environment_error(
        fmt::format("{}: in use by {}", path_, n > 0 ? owner.data() : "another process"));
  }
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string owner = fmt::format("process {} on {}", ::getpid(), host.data());
  if (::ftruncate(lock_, 0) != 0 || !write_all(lock_, owner)) throw cannot_save(name);
}

void RunFolder::merge_header(const Json& header) {
  const std::string name = file("run.json");
  try {
    header_ = Json::parse(read_file(name));
    if (header_.at("schema") != kRunSchema)
      throw std::runtime_error(fmt::format("schema is {}, this program's is {}",
                                           header_.at("schema").dump(), kRunSchema));
    check_identity(name, header_, header);
    for (const auto& [task, identity] : header.at("tasks").items())
      for (const auto& [field, value] : identity.items())
        if (Json& merged = header_.at("tasks")[task][field]; !value.is_null()) merged = value;
    if (header.contains("data") && !header_.contains("data")) header_["data"] = header.at("data");
    grow(header_.at("measured"), header.at("measured"));
    unite(header_.at("schemes"), header.at("schemes"));
    unite(header_.at("sessions"), header.at("sessions"));
    header_.at("seed") = header.at("seed");
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw environment_error(fmt::format("{}: {}", name, error.what()));
  }
}

void RunFolder::load_results(const Note& note) {
  const std::string name = file("results.jsonl");
  results_ = ::open(name.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (results_ < 0) throw cannot_save(name);
  const std::string text = read_file(name);
  size_t good = 0;
  for (int64_t line = 1; good < text.size(); ++line) {
    const size_t newline = text.find('\n', good);
    const size_t end = newline == std::string::npos ? text.size() : newline + 1;
    std::string problem = newline == std::string::npos ? "no line end" : "";
    if (problem.empty()) {
      try {
        Record record = parse_record(Json::parse(text.begin() + static_cast<ptrdiff_t>(good),
                                                 text.begin() + static_cast<ptrdiff_t>(end)));
        records_.insert_or_assign(unit_of(record).key, std::move(record));
      } catch (const std::exception& error) {
        problem = error.what();
      }
    }
    if (!problem.empty()) {
      if (end != text.size())
        throw environment_error(fmt::format("{}: line {}: {}", name, line, problem));
      if (::ftruncate(results_, static_cast<off_t>(good)) != 0 || ::fsync(results_) != 0)
        throw cannot_save(name);
      note(fmt::format("{}: line {} was torn and is measured again", name, line));
      return;
    }
    good = end;
  }
}

const UnitRecord* RunFolder::find(const UnitKey& key) const {
  const auto found = records_.find(key);
  return found == records_.end() ? nullptr : &unit_of(found->second);
}

void RunFolder::add(WindowRecord record, const PositionScores& scores) {
  std::string content;
  for (const auto* values : {&scores.nll, &scores.kl, &scores.same_top})
    content.append(reinterpret_cast<const char*>(values->data()), values->size() * sizeof(double));
  record.positions_file = fmt::format("positions/{}-{:05}-{}.f64", record.key.mode, record.window,
                                      sha256_hex(record.key.str()).substr(0, 16));
  record.positions_sha256 = sha256_hex(content);
  write_file(file(record.positions_file), content);

  append(line_of(record));
  records_.insert_or_assign(record.key, std::move(record));
}

void RunFolder::add(std::vector<SampleRecord> records) {
  std::string lines;
  for (const SampleRecord& record : records) lines += line_of(record);
  append(lines);
  for (SampleRecord& record : records) records_.insert_or_assign(record.key, std::move(record));
}

void RunFolder::add(ErrorRecord record) {
  append(line_of(record));
  records_.insert_or_assign(record.key, std::move(record));
}

void RunFolder::add_run(const UnitRecord& again) {
  Record record = records_.at(again.key);
  UnitRecord& unit = unit_of(record);
  unit.runs.push_back(again.runs.front());
  if (!unit.logits) unit.logits = again.logits;
  append(line_of(record));
  records_.insert_or_assign(again.key, std::move(record));
}

void RunFolder::add_difference(const Json& difference) {
  const std::string name = file("differences.jsonl");
  const int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) throw cannot_save(name);
  const bool written = write_all(fd, json_text(difference, -1) + "\n") && ::fsync(fd) == 0;
  ::close(fd);
  if (!written) throw cannot_save(name);
}

void RunFolder::append(const std::string& lines) {
  const std::string name = file("results.jsonl");
  struct stat before {};
  if (::fstat(results_, &before) != 0) throw cannot_save(name);
  if (!write_all(results_, lines) || ::fsync(results_) != 0) {
    const Error error = cannot_save(name);
    // What cannot be cut off here is cut off when the run continues.
    [[maybe_unused]] const int cut = ::ftruncate(results_, before.st_size);
    throw error;
  }
}

PositionScores RunFolder::positions(const WindowRecord& record) const {
  const std::string name = file(record.positions_file);
  const std::string content = read_file(name);
  const size_t targets = static_cast<size_t>(record.targets);
  if (content.size() != 3 * targets * sizeof(double) ||
      sha256_hex(content) != record.positions_sha256)
    throw environment_error(fmt::format("{}: not what results.jsonl says was written (sha256 {})",
                                        name, record.positions_sha256));
  PositionScores scores(targets);
  const char* from = content.data();
  for (auto* values : {&scores.nll, &scores.kl, &scores.same_top}) {
    std::memcpy(values->data(), from, targets * sizeof(double));
    from += targets * sizeof(double);
  }
  return scores;
}

void RunFolder::write_view(const std::string& name, std::string_view content) const {
  write_file(file(name), content);
}

}  // namespace kvx::eval
