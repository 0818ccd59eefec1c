// Hashes of whole models.
#pragma once

#include "tests/hash/report.h"

namespace kvx::hash {

void seeded_models(Report& report);

// Prints nothing where the folder named by KVX_DATA does not hold the model.
void stories(Report& report);

}  // namespace kvx::hash
