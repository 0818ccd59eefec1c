// CUDA for sources that are compiled for the emulated device.
#pragma once

#include "tests/emulated/builtins.h"
#include "tests/emulated/runtime.h"
