// Progress of a run for people, on standard error: a bar with the time left on a terminal, else a
// line every 30 s.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kvx::eval {

// "[######....] 12/20  3 min left  kivi:k2v2"; seconds_left < 0: not known yet.
std::string progress_line(int64_t done, int64_t total, double seconds_left,
                          const std::string& label, int bar_width);

class Progress {
 public:
  Progress(int64_t total, bool quiet);
  ~Progress();  // ends the bar's line

  void start(const std::string& label);  // of the unit that runs now
  void finish();                         // that unit is done
  // A line of its own, above the bar.
  void note(const std::string& message);

 private:
  using Clock = std::chrono::steady_clock;
  void draw();

  int64_t total_;
  int64_t done_ = 0;
  bool quiet_;
  bool terminal_;
  bool drawn_ = false;
  std::string label_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_line_ = begin_;
};

}  // namespace kvx::eval
