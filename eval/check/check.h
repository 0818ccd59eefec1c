// Judges a subject, any maker of layer caches, by the reference: case by case, at the levels of
// record.h. A program that links another set of kernels can bring its own subject.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/check/case.h"
#include "eval/check/events.h"
#include "eval/check/family.h"
#include "eval/check/record.h"
#include "sim/api/descriptor.h"

namespace kvx::check {

struct Subject {
  std::string name;                           // of the backend, in reports
  std::function<bool(std::string_view)> has;  // whether it implements the scheme of that name
  std::function<std::unique_ptr<LayerCache>(const Descriptor&, const CacheConfig&)> make;
};

// The reference in other chunks: a self-check that needs no device.
Subject cpu_subject();

struct Judgement {
  std::array<LevelVerdict, kLevels> levels;
  Events events;
  double seconds = 0;

  bool good() const;
  std::string first() const;  // "E1 NAME: head 0, ...", of the lowest level; empty where good
};

// Plays the case on the subject, then on the reference. `threads` are used within the case. Throws
// an Error where the reference itself cannot play it (a usage Error: scheme and shape do not fit).
Judgement judge(const Case& one, const Subject& subject, int threads = 1);

struct CheckOptions {
  int threads = 1;
  double shrink_seconds = 5;  // spent on each failure that is shrunk
  int shrink_most = 3;        // failures of a scheme that are shrunk
  std::string out;            // folder of saved cases, made when there is one; empty: none saved
  std::function<bool()> stop = [] { return false; };
  std::function<void(const Case&)> done = [](const Case&) {};  // one thread at a time
};

struct CaseResult {
  Case one;
  std::string family;
  Judgement judgement;
  bool judged = false;
  bool mistrusted = false;  // hit none of the events it is for
  // Of a failure: the smaller case that fails too, its file, the command that shows it again.
  std::optional<Case> shrunk;
  std::string file;
  std::string repro;
};

struct Report {
  std::string subject;
  std::vector<CaseResult> cases;
  std::vector<std::string> without;  // schemes that were selected and the subject does not have
  std::vector<std::string> other_arithmetic;  // schemes that do not have the one asked for
  // Families that were judged whole and lack an event they must show: "NAME: EVENT, EVENT".
  std::vector<std::string> lacking;
  bool stopped = false;
  double seconds = 0;

  int64_t mismatches() const;  // cases
  int64_t mistrusted() const;
  bool good() const;  // something was judged, and nothing is wrong
};

// Which cases of the families to judge; names match a glob, or contain a text without * and ?.
struct Selection {
  bool smoke = false;
  std::string filter;
};
// The families with the selected cases only; those without any are left out.
std::vector<Family> select(const std::vector<Family>& families, const Selection& selection);

Report run_check(const std::vector<Family>& families, const Subject& subject,
                 const CheckOptions& options);

}  // namespace kvx::check
