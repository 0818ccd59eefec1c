// Whatever stops a sweep, what was finished is intact and the same command continues it to the
// values of an uninterrupted run.
#include <sys/stat.h>

#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "tests/support/eval_sweep.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using std::chrono::duration;
using std::chrono::steady_clock;
using test::Process;
using test::Words;

class LostPower : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    sweep_ = new test::Sweep(KVX_PROGRAM);
    const auto begin = steady_clock::now();
    ASSERT_EQ(test::Sweep::run(command(sweep_->reference())), 0);
    seconds_ = duration<double>(steady_clock::now() - begin).count();
  }
  static void TearDownTestSuite() { delete sweep_; }

  static Words command(const std::string& run) { return sweep_->command(run); }
  static std::string reference() { return sweep_->reference(); }

  // The finished lines are the first of the reference's.
  static void expect_beginning_of_reference(const std::string& run) {
    const auto partial =
        fs::exists(run + "/results.jsonl") ? test::values_of(run) : std::vector<std::string>{};
    const auto whole = test::values_of(reference());
    ASSERT_LE(partial.size(), whole.size());
    EXPECT_TRUE(std::equal(partial.begin(), partial.end(), whole.begin())) << run;
  }
  static void expect_continues(const std::string& run) {
    ASSERT_EQ(test::Sweep::run(command(run)), 0);
    sweep_->expect_same_as_reference(run);
  }
  // A shell in its own user and mount namespace, where it may mount.
  static Words in_namespace(const std::string& script, const Words& arguments) {
    Words words{"/bin/sh", "-c",
                "exec unshare --user --map-root-user --mount /bin/sh -ec \"$0\" \"$@\"", script};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  static bool can_mount(std::string& why) {
    Process probe(in_namespace("mount -t tmpfs -o size=64k tmpfs \"$0\"", {"/mnt"}));
    if (probe.wait() == 0) return true;
    why = probe.err();
    return false;
  }

  static test::Sweep* sweep_;
  static double seconds_;  // of the uninterrupted run
};
test::Sweep* LostPower::sweep_ = nullptr;
double LostPower::seconds_ = 0;

// Thirty sweeps, killed at moments spread over the time of a whole run, the first at once; to every
// second one the beginning of a line is added, as a write that lost its end.
TEST_F(LostPower, KilledAtThirtyMoments) {
  std::mt19937 draw(30);
  const auto share = [&draw] { return static_cast<double>(draw()) / 4294967296.0; };
  std::set<int64_t> lines_at_kill;
  double seconds = seconds_;
  int kills = 0, torn = 0;
  for (int attempt = 0; kills < 30 && attempt < 120; ++attempt) {
    test::TempDir temp;
    const std::string folder = temp / "run", results = folder + "/results.jsonl";
    Process process(command(folder));
    const double part = kills == 0 ? 0 : (kills + share()) / 30;
    std::this_thread::sleep_for(duration<double>(part * seconds));
    process.send(SIGKILL);
    if (process.wait() != -SIGKILL) {  // the machine is faster than it was
      seconds *= 0.9;
      continue;
    }
    ++kills;
    const int64_t lines = test::line_count(folder);
    lines_at_kill.insert(lines);
    if (static_cast<double>(lines) < part * test::kSweepUnits / 2) seconds *= 1.1;
    const bool tear = kills % 2 == 0 && fs::exists(results);
    if (tear) {
      // Part of the next line, as a write that lost its end.
      const std::string whole = test::read_file(reference() + "/results.jsonl");
      const std::string text = test::read_file(results);
      const std::string next = whole.substr(0, whole.find('\n'));
      test::write_file(results, text.substr(0, text.rfind('\n') + 1) +
                                    next.substr(0, 1 + draw() % (next.size() - 1)));
      ++torn;
    }
    Process resumed(command(folder));
    ASSERT_EQ(resumed.wait(), 0) << resumed.err();
    const bool said = resumed.err().find(" was torn and is measured again") != std::string::npos;
    EXPECT_TRUE(said || !tear) << resumed.err();
    sweep_->expect_same_as_reference(folder);
    if (HasFailure()) FAIL() << "killed after " << part << " of " << seconds << " s";
  }
  EXPECT_EQ(kills, 30);
  EXPECT_GE(torn, 3);
  EXPECT_EQ(*lines_at_kill.begin(), 0);
  EXPECT_GE(lines_at_kill.size(), 4u);  // different moments of the sweep
}

// One sweep, killed again and again, each time a little later.
TEST_F(LostPower, KilledThirtyTimesInARow) {
  test::TempDir temp;
  const std::string folder = temp / "run";
  std::mt19937 draw(31);
  int kills = 0;
  for (; kills < 30; ++kills) {
    Process process(command(folder));
    std::this_thread::sleep_for(
        duration<double>(seconds_ * 0.3 * static_cast<double>(draw()) / 4294967296.0));
    process.send(SIGKILL);
    if (process.wait() != -SIGKILL) break;
    expect_beginning_of_reference(folder);
  }
  EXPECT_GE(kills, 3);
  expect_continues(folder);
}

// The tool that compares folders agrees, also with a folder of the schema before, and can disagree.
TEST_F(LostPower, SameValuesSaysSo) {
  test::TempDir temp;
  const auto compare = [&](const std::string& other) {
    Process process({KVX_PYTHON, "-B", KVX_SAME_VALUES, reference(), other});
    const int code = process.wait();
    return std::make_pair(code, process.out());
  };
  const std::string all = std::to_string(test::kSweepUnits) + " units in both, ";
  EXPECT_EQ(compare(reference()), std::make_pair(0, all + "0 differ\n"));
  const auto rewritten = [&](const std::string& name, const auto& change) {
    fs::create_directories(temp / name);
    std::string text;
    std::istringstream lines(test::read_file(reference() + "/results.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      auto json = test::SweepJson::parse(line);
      change(json);
      text += json.dump() + "\n";
    }
    test::write_file(temp / name + "/results.jsonl", text);
    return temp / name;
  };
  // As `kvx-result/1` was: sha256 of the first two arrays by the reference's own tool.
  const std::string old = rewritten("old", [&](test::SweepJson& json) {
    json["schema"] = "kvx-result/1";
    for (const char* name : {"protocol", "context", "first_position"}) json.erase(name);
    const std::string side = reference() + "/" + json["positions"]["file"].get<std::string>();
    Process hash({"/bin/sh", "-c", "head -c \"$1\" \"$0\" | sha256sum", side,
                  std::to_string(16 * json["targets"].get<int64_t>())});
    ASSERT_EQ(hash.wait(), 0);
    json["positions"]["sha256"] = hash.out().substr(0, 64);
  });
  EXPECT_EQ(compare(old), std::make_pair(0, all + "0 differ\n"));
  const std::string other = rewritten("other", [](test::SweepJson& json) {
    if (json["window"] == 1) json["same_top"] = json["same_top"].get<int64_t>() - 1;
    json["positions"]["file"] = "positions/absent";
  });
  const auto [code, said] = compare(other);
  EXPECT_EQ(code, 1);
  EXPECT_NE(said.find("differs in positions, same_top"), std::string::npos) << said;
}

// A limit on the size of a file stops the run at every file it writes, from the lock to the last
// picture: exit 4 with the file named, and room is all it takes to continue.
TEST_F(LostPower, NoRoomForAnyFile) {
  std::set<std::string> named;
  const auto stops_at = [&](const std::string& folder, const Words& command, int limit) {
    // Output goes through a pipe, which has no limit.
    Words words{"/bin/sh", "-c",
                "trap '' XFSZ; { prlimit --fsize=$0 -- \"$@\" 2>&1; echo \"code $?\"; } | cat",
                std::to_string(limit)};
    words.insert(words.end(), command.begin(), command.end());
    Process process(words);
    EXPECT_EQ(process.wait(), 0);
    const std::string said = process.out();
    if (said.ends_with("code 0\n")) return false;
    EXPECT_TRUE(said.ends_with("File too large\ncode 4\n")) << limit << ": " << said;
    const size_t at = said.rfind("kvx: " + folder + "/");
    if (at == std::string::npos) {
      ADD_FAILURE() << limit << ": " << said;
      return true;
    }
    const size_t begin = at + 6 + folder.size();
    named.insert(said.substr(begin, said.find_first_of(":/", begin) - begin));
    return true;
  };
  int stopped = 0;
  for (const int limit : {0, 3, 300, 1500, 3000, 9000}) {
    test::TempDir temp;
    if (!stops_at(temp / "run", command(temp / "run"), limit)) continue;
    ++stopped;
    expect_beginning_of_reference(temp / "run");
    expect_continues(temp / "run");
  }
  EXPECT_EQ(stopped, 6);
  // Windows whose side files are larger than all that is written before them.
  test::TempDir temp;
  Words long_windows = command(temp / "long");
  const auto length = std::find(long_windows.begin(), long_windows.end(), "--length") + 1;
  *length = "400";
  *std::find(long_windows.begin(), long_windows.end(), "3") = "2";
  EXPECT_TRUE(stops_at(temp / "long", long_windows, 8000));
  EXPECT_EQ(test::line_count(temp / "long"), 0);
  EXPECT_EQ(test::Sweep::run(long_windows), 0);
  // Of a finished folder only views are written anew.
  fs::copy(reference(), temp / "done", fs::copy_options::recursive);
  for (int limit = 2500; stops_at(temp / "done", command(temp / "done"), limit);
       limit += limit / 2) {
    EXPECT_EQ(test::values_of(temp / "done"), test::values_of(reference()));
    EXPECT_EQ(test::read_file(temp / "done/table.csv").back(), '\n');
  }
  for (const char* file : {"lock", "run.json", "positions", "results.jsonl", "divergence.csv"})
    EXPECT_TRUE(named.count(file)) << file;
}

TEST_F(LostPower, FullFileSystem) {
  std::string why;
  if (!can_mount(why)) GTEST_SKIP() << "needs to mount a file system of its own: " << why;
  test::TempDir temp;
  for (const char* size : {"16k", "40k", "80k"}) {
    const std::string before = temp / (std::string(size) + "-before"),
                      after = temp / (std::string(size) + "-after");
    fs::create_directories(temp / size);
    // Words: mount point, size, copies, then the program's; the run folder is in the mount point.
    Words words{temp / size, size, before, after};
    const std::string folder = temp / size + "/run";
    for (const std::string& word : command(folder)) words.push_back(word);
    Process process(
        in_namespace("disk=$0 size=$1 before=$2 after=$3; shift 3\n"
                     "mount -t tmpfs -o size=$size tmpfs \"$disk\"\n"
                     "code=0; \"$@\" || code=$?\n"
                     "echo \"first $code\"\n"
                     "cp -r \"$disk/run\" \"$before\"\n"
                     "mount -o remount,size=8m \"$disk\"\n"
                     "\"$@\" > /dev/null\n"
                     "cp -r \"$disk/run\" \"$after\"\n",
                     words));
    ASSERT_EQ(process.wait(), 0) << process.err();
    EXPECT_EQ(process.out(), "first 4\n");
    EXPECT_NE(process.err().find("No space left on device"), std::string::npos) << process.err();
    expect_beginning_of_reference(before);
    sweep_->expect_same_as_reference(after);
  }
}

TEST_F(LostPower, ReadOnlyFolder) {
  test::TempDir temp;
  const std::string folder = temp / "run";
  // A folder with some units, and a place for a new one.
  Process part(command(folder), 6000);
  ASSERT_EQ(part.wait(), 4);
  const auto finished = test::values_of(folder);
  ASSERT_GT(finished.size(), 0u);
  std::string why;
  const bool mounts = can_mount(why);
  if (!mounts && ::geteuid() == 0)
    GTEST_SKIP() << "permissions do not stop root, and a read-only mount is refused: " << why;
  for (const std::string& run : {folder, temp / "new"}) {
    Words words = command(run);
    std::string parent = temp.path().string();
    if (mounts) {
      words.insert(words.begin(), parent);
      words = in_namespace(
          "mount --bind \"$0\" \"$0\"\nmount -o remount,bind,ro \"$0\"\nexec \"$@\"", words);
    } else {
      ::chmod(folder.c_str(), 0555);
      ::chmod((folder + "/lock").c_str(), 0444);
      ::chmod(parent.c_str(), 0555);
    }
    Process process(words);
    EXPECT_EQ(process.wait(), 4) << process.err();
    EXPECT_NE(process.err().find("kvx: " + run), std::string::npos) << process.err();
    EXPECT_EQ(process.err().find('\n'), process.err().size() - 1) << process.err();
    ::chmod(parent.c_str(), 0755);
    ::chmod(folder.c_str(), 0755);
    ::chmod((folder + "/lock").c_str(), 0644);
  }
  EXPECT_EQ(test::values_of(folder), finished);
  EXPECT_FALSE(fs::exists(temp / "new"));
  expect_continues(folder);
}

TEST_F(LostPower, StandardOutputIsFull) {
  test::TempDir temp;
  Words words{"/bin/sh", "-c", "exec \"$0\" \"$@\" > /dev/full"};
  for (const std::string& word : command(temp / "run")) words.push_back(word);
  Process process(words);
  EXPECT_EQ(process.wait(), 4);
  EXPECT_NE(process.err().find("kvx: standard output: No space left on device"), std::string::npos)
      << process.err();
  sweep_->expect_same_as_reference(temp / "run");
}

TEST_F(LostPower, SecondProcessIsToldTheFirst) {
  test::TempDir temp;
  const std::string folder = temp / "run";
  Process first(command(folder));
  while (first.running() && test::line_count(folder) < 1)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  first.send(SIGSTOP);
  ASSERT_TRUE(first.running()) << first.err();
  const auto before = test::values_of(folder);
  for (int i = 0; i < 2; ++i) {
    Process second(command(folder));
    EXPECT_EQ(second.wait(), 3);
    EXPECT_NE(second.err().find("kvx: " + folder + ": in use by process " +
                                std::to_string(first.pid()) + " on "),
              std::string::npos)
        << second.err();
  }
  EXPECT_EQ(test::values_of(folder), before);
  first.send(SIGCONT);
  ASSERT_EQ(first.wait(), 0) << first.err();
  sweep_->expect_same_as_reference(folder);
}

// Ctrl-C and termination: the unit in hand is finished, not one more, and nothing is torn.
TEST_F(LostPower, StopsAfterTheUnitInHand) {
  for (const int signal : {SIGINT, SIGTERM}) {
    test::TempDir temp;
    const std::string folder = temp / "run";
    Process process(command(folder));
    while (process.running() && test::line_count(folder) < 5)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    process.send(signal);
    const int64_t lines = test::line_count(folder);
    EXPECT_EQ(process.wait(), 130) << process.err();
    EXPECT_EQ(process.out(), "");
    EXPECT_EQ(process.err().find("torn"), std::string::npos);
    // The signal may come while the line just counted is written, or the next.
    EXPECT_LE(test::line_count(folder), lines + 2);
    EXPECT_EQ(test::read_file(folder + "/results.jsonl").back(), '\n');
    expect_beginning_of_reference(folder);
    expect_continues(folder);
  }
}

}  // namespace
}  // namespace kvx
