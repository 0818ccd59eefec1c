// What the finished units of a run folder say about each scheme; the table, table.csv, the JSON
// document and the picture all show this.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/bins.h"
#include "eval/divergence.h"
#include "eval/protocol.h"
#include "eval/stats.h"
#include "eval/store.h"

namespace kvx::eval {

// A scheme beside the base over some of the scored positions.
struct Scope {
  std::string name;  // "scored": all of them; "half": those from floor(L/2) on
  Divergence divergence;
};

struct SchemeRow {
  std::string scheme;  // versioned descriptor
  std::string label;   // canonical descriptor
  int64_t targets = 0;
  double bits_k = 0, bits_v = 0, bits = 0;  // counted from the cache, per value
  double nominal_k = 0, nominal_v = 0;
  double nll = 0;        // mean of window means; in llama.cpp's protocol mean over all positions
  double ppl = 0;        // exp(nll)
  double ppl_error = 0;  // standard error as if positions were independent
  double delta_ppl = 0;  // ppl minus the base's
  double kl_mean = 0;    // as nll
  double kl_p999 = 0;    // over all positions of all windows
  double kl_max = 0;
  double same_top = 0;  // share of positions
  double tokens_per_second = 0;
  bool base = false;
  // 95 %, by paired bootstrap over windows; absent for the base and for one window.
  std::optional<Interval> delta_ppl_interval;
  std::optional<Interval> delta_nll_interval;
  std::vector<Scope> scopes;      // none for the base; one where the halves are all that is scored
  std::vector<PositionBin> bins;  // by position in the window
};

// What computed the units of a mode. Where two backends did, their values were compared and are
// equal.
struct Backends {
  int64_t units = 0;
  std::map<std::string, int64_t> by_name;  // units
  int64_t equal = 0;                       // units that two backends computed
  ShadowCount shadow;
};

struct ModeSummary {
  std::string mode;
  std::vector<SchemeRow> rows;  // the base first, then as in run.json
  Backends backends;            // of the rows' units
};

struct Summary {
  Json run;  // run.json
  Protocol protocol = Protocol::kGptq;
  int64_t windows = 0;
  std::vector<ModeSummary> modes;
};

// Over windows 0 .. windows-1; a scheme lacking one of them is left out, with a note.
Summary summarise(const RunFolder& folder, const Cut& cut, int64_t windows, int64_t bins,
                  const Note& note);

std::string summary_table(const Summary& summary);  // for people
std::string summary_csv(const Summary& summary);
Json summary_json(const Summary& summary);
std::string summary_svg(const Summary& summary);  // accuracy against bits

// The same of the divergence statistics, and of the bins by position.
std::string divergences_text(const Summary& summary);
std::string divergences_csv(const Summary& summary);
std::string positions_table(const Summary& summary);
std::string positions_csv(const Summary& summary);
std::string positions_svg(const Summary& summary);  // perplexity and divergence by position

}  // namespace kvx::eval
