#include "eval/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "eval/streams.h"

namespace kvx::eval {
namespace {

std::string duration(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

}  // namespace

std::string progress_line(int64_t done, int64_t total, double seconds_left,
                          const std::string& label, int bar_width) {
  const int64_t filled = total > 0 ? done * bar_width / total : 0;
  const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                          std::string(static_cast<size_t>(bar_width - filled), '.');
  const std::string left = seconds_left < 0 ? "" : fmt::format("  {} left", duration(seconds_left));
  return fmt::format("[{}] {}/{}{}  {}", bar, done, total, left, label);
}

Progress::Progress(int64_t total, bool quiet)
    : total_(total), quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (drawn_) tell("\n");
}

void Progress::start(const std::string& label) {
  label_ = label;
  draw();
}

void Progress::finish() {
  ++done_;
  draw();
}

void Progress::note(const std::string& message) {
  if (drawn_) tell("\r\x1b[K");
  drawn_ = false;
  tell(fmt::format("kvx: {}\n", message));
}

void Progress::draw() {
  if (quiet_) return;
  const Clock::time_point now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const double left =
      done_ == 0 ? -1 : elapsed / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  if (terminal_) {
    tell(fmt::format("\r{}\x1b[K", progress_line(done_, total_, left, label_, 24)));
    std::fflush(stderr);
    drawn_ = true;
  } else if (now - last_line_ >= std::chrono::seconds(30)) {
    tell(fmt::format("{}\n", progress_line(done_, total_, left, label_, 24)));
    last_line_ = now;
  }
}

}  // namespace kvx::eval
