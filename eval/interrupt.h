// Ctrl-C and termination: the first asks for a stop after the current unit, the second stops at
// once.
#pragma once

namespace kvx::eval {

void watch_interrupts();
bool interrupted();

}  // namespace kvx::eval
