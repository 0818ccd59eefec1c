// What a page says in words of a task.
#pragma once

#include <string>
#include <vector>

#include "eval/report/score.h"

namespace kvx::report {

// "Perplexity", "Task needle"
std::string task_title(const Table& table);

// How it was measured, out of run.json: windows, lengths, texts.
std::string protocol_text(const Model& model, const Table& table);

// What a reader must know of the rows: cells that do not count, no base, rows that lack units.
std::vector<std::string> table_notes(const Table& table);

std::string accuracy_caption(const Table& table);
std::string divergence_caption();
std::string map_caption();

// "LlamaForCausalLM, 30 layers, 9 heads, 3 KV heads of 64 channels, vocabulary 49,152"
std::string model_shape(const Model& model);

}  // namespace kvx::report
