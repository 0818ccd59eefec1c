#include <fmt/core.h>

#include "eval/calibrate_file.h"
#include "eval/cli.h"
#include "eval/streams.h"
#include "ref/registry.h"

namespace kvx::eval {
namespace {

constexpr const char* kHelp =
    R"(usage: kvx calibrate --scheme DESCRIPTOR --model PATH --data PATH --out FILE [options]

Runs windows of a text through a model exactly and writes what a calibrated scheme learns from its K
and V, as safetensors. Prints the descriptor that names the result by its hash. The text is cut into
windows of --length tokens, each a sequence of its own. Equal input gives an equal file, on either
backend.
fp8 with scale=tensor or scale=head: layers.N.k.scale and layers.N.v.scale, F32 [1] or [kv heads]:
the greatest magnitude (keys after rotation; rounded to fp16) over 448 (e4m3) or 57344 (e5m2).
kvquant: ranges of channels, layers.N.k.lo and .hi, and for nuq codebooks and Q-Norm, weighted by
squared gradients of the loss, from a backward pass through the model.

)";

}  // namespace

int cmd_calibrate(const std::vector<std::string>& words) {
  const boost::program_options::options_description visible = calibrate_options();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const std::string out = options.required("out");
  const CalibrationInputs in = read_calibration(options);
  const auto calibrator = ref::make_calibrator(in.scheme);
  const CalibrationTime time = calibrate(*in.text, in.length, in.backend, *calibrator);
  const CalibrationFile file = write_calibration(*calibrator, in.metadata, out);
  print(calibrated_descriptor(in, file.sha256) + "\n");
  tell(fmt::format(
      "kvx: {} tensors from {} tokens in {}, SHA-256 {}\nkvx: {} windows {:.1f} s, fit {:.1f} s\n",
      file.tensors, in.text->tokens.size(), out, file.sha256, time.windows, time.window_seconds,
      time.fit_seconds));
  return 0;
}

}  // namespace kvx::eval
