// What the finished units of task `error` say, for people and as CSV.
#pragma once

#include <cstdint>
#include <string>

#include "eval/store.h"

namespace kvx::eval {

// Per cache mode and scheme the means over layers and windows 0 .. windows-1, and the layer whose
// output is worst. A scheme that lacks a window is left out, with a note.
std::string error_table(const RunFolder& folder, int64_t windows, const Note& note);

// Every layer of every finished window: mode,scheme,window,layer,k,v,weights,out.
std::string error_csv(const RunFolder& folder);

}  // namespace kvx::eval
