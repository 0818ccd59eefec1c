// Plays a case on a cache and shows a recorder everything that the levels compare.
#pragma once

#include "eval/check/case.h"
#include "eval/check/inputs.h"
#include "eval/check/record.h"

namespace kvx::check {

// After every append: length, ranges held and read, counts (E0). After the last, or each, as the
// case says: attention of the append's queries (E2), rows read (E1), canonical tensors (E0, the
// decoded values E1) and the image (E0). Errors are shown too, by message or, of a cut, by exit
// code; an append that throws ends the case.
void play(LayerCache& cache, const Case& one, const Inputs& inputs, Recorder& recorder);

// An exception as words: "refused: MESSAGE" of a kvx::Error, "threw: MESSAGE" of another.
std::string exception_text(const std::exception& error);

}  // namespace kvx::check
