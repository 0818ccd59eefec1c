// Greedy decoding: choices become the next step's tokens without leaving the device.
#include <algorithm>

#include "gpu/engine/engine.h"
#include "gpu/engine/refusals.h"

namespace kvx::gpu {

using model::Chunk;

std::vector<int32_t> Engine::greedy(std::span<const SeqId> seqs, std::span<const int32_t> tokens,
                                    int64_t steps) {
  std::vector<int32_t> fed(tokens.begin(), tokens.end());
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < seqs.size(); ++i)
    chunks.push_back({.seq = seqs[i], .tokens = std::span(fed).subspan(i, 1)});
  HostPass pass = plan(chunks);
  if (pass.rows() == 0 || steps <= 0) return {};
  if (!is_step(pass)) return greedy_by_passes(chunks, fed, steps);
  for (const PassSpan& span : pass.spans) check_steps(span.first, steps);
  for (size_t i = 0; i < seqs.size(); ++i)
    pool_.reserve(seqs[i], static_cast<int32_t>(pass.spans[i].first + steps), stream_);

  std::vector<int32_t> ids;
  for (int64_t done = 0; done < steps; done += kStepsAtOnce) {
    if (done > 0) check_tokens(config(), pass.tokens);
    const int64_t count = std::min(steps - done, kStepsAtOnce);
    const std::vector<int32_t> part = greedy_part(pass, count);
    ids.insert(ids.end(), part.begin(), part.end());
  }
  return ids;
}

// Steps of `pass`, which then has the last choices as tokens.
std::vector<int32_t> Engine::greedy_part(HostPass& pass, int64_t steps) {
  begin(pass);
  const GreedyState fresh;
  greedy_state_.upload({&fresh, 1}, 0, stream_);
  check(cudaMemsetAsync(choices_.get(), 0, static_cast<size_t>(choices_.bytes()), stream_),
        "choices");
  for (int64_t i = 0; i < steps; ++i) {
    const int32_t bound = step_bound(static_cast<int32_t>(pass.max_length() + i));
    const Pass step = device_pass(pass, bound);
    reserve_scratch(step.rows, step);
    graphs_.run({StepKind::kGreedy, step.span_count, bound}, stream_,
                [&] { enqueue_greedy_step(step); });
  }
  const size_t batch = pass.spans.size();
  std::vector<int32_t> ids(static_cast<size_t>(steps) * batch);
  GreedyState state;
  ids_.download(ids, 0, stream_);
  greedy_state_.download({&state, 1}, 0, stream_);

  // The CPU engine stops at the first step that cannot be.
  const int64_t good = state.failed_step < 0 ? steps : state.failed_step;
  for (int64_t step = 0; step < good; ++step) {
    pass.tokens.assign(ids.begin() + step * static_cast<int64_t>(batch),
                       ids.begin() + (step + 1) * static_cast<int64_t>(batch));
    for (PassSpan& span : pass.spans) ++span.first;
    set_lengths(pass, false);
    if (step + 1 < steps) check_tokens(config(), pass.tokens);
  }
  if (state.failed_step >= 0) refuse(state.failed_layer, state.note, pass);
  return ids;
}

void Engine::enqueue_greedy_step(const Pass& step) {
  enqueue_trunk(step, nullptr);
  enqueue_head(0, 0, step.rows, nullptr);
  choose_greatest(logits_.logits(0), step.rows, config().vocab, choices_.get(), stream_);
  end_greedy_step({.state = greedy_state_.get(),
                   .choices = choices_.get(),
                   .ids = ids_.get(),
                   .tokens = buffers_.tokens(),
                   .spans = spans_.get(),
                   .count = step.rows,
                   .notes = notes_.get(),
                   .layers = pool_.layers()},
                  stream_);
}

// Where attention is tapped or a step is too large for one: pass by pass.
std::vector<int32_t> Engine::greedy_by_passes(std::span<const Chunk> chunks,
                                              std::vector<int32_t>& fed, int64_t steps) {
  const size_t batch = fed.size();
  const int64_t vocab = config().vocab;
  std::vector<int32_t> ids;
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<int32_t> next;
    forward(chunks, [&](int64_t, int64_t count, const float*) {
      check(cudaMemsetAsync(choices_.get(), 0, static_cast<size_t>(choices_.bytes()), stream_),
            "choices");
      choose_greatest(logits_.logits(given_slot_), count, vocab, choices_.get(), stream_);
      std::vector<Choice> choices(static_cast<size_t>(count));
      choices_.download(choices, 0, stream_);
      for (const Choice choice : choices) next.push_back(chosen_id(choice));
    });
    std::copy_n(next.begin(), batch, fed.begin());
    ids.insert(ids.end(), next.begin(), next.end());
  }
  return ids;
}

}  // namespace kvx::gpu
