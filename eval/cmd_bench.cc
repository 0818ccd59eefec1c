#include <fmt/chrono.h>
#include <fmt/core.h>

#include <chrono>
#include <optional>

#include "eval/backend.h"
#include "eval/bench/baseline.h"
#include "eval/bench/measure.h"
#include "eval/bench/page.h"
#include "eval/bench/plan.h"
#include "eval/bench/table.h"
#include "eval/build_info.h"
#include "eval/cli.h"
#include "eval/files.h"
#include "eval/interrupt.h"
#include "eval/progress.h"
#include "eval/streams.h"
#include "gpu/bench/registry.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr const char* kHelp =
    R"(usage: kvx bench --scheme X... [--heads 32/8] [--dim 128] [--batch 8] [--tokens 32768]
                 [--backend cuda|cpu] [--what encode,append,attend,step] [options]
       kvx bench --model M --scheme X... [--batch 8] [--tokens 32768] [options]

How long the caches of one layer take, beside the bandwidth of the memory, measured in the same run.
Heads, dim, batch, tokens and queries take lists (commas, or the option again): every combination is
a shape. On the device calls are captured in CUDA graphs over distinct caches, together larger than
three times its L2, so that every call is cold; on the CPU the reference runs on one thread. With
--model: greedy decode steps of a whole model over contexts of --tokens, stored without a pass.
eval/bench/bench.md says what is timed and which bytes are counted.

--out keeps a run folder for kvx report; one that is there is continued, what is measured again is
replaced. --baseline compares with an earlier one: exit code 1 where a median is above the baseline's
p90 and more than 2 % above its median.

)";

po::options_description describe() {
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  po::options_description options("options", 100);
  bench::add_plan_options(options);
  auto add = options.add_options();
  add("peers", text("FILE"), "measurements of other programs (tests/peers), for the same tables");
  add("baseline", text("RUN"), "run folder to compare with");
  add("out", text("RUN"), "run folder");
  add("json", text("FILE"), "also write everything as JSON; -: to standard output, no tables");
  add("quiet", po::bool_switch(), "no progress");
  add("help", po::bool_switch(), "this text");
  return options;
}

bench::Json made(const std::vector<std::string>& words, const std::string& backend) {
  const HostInfo host = host_info();
  const BuildInfo& build = build_info();
  bench::Json command = bench::Json::array({"kvx", "bench"});
  for (const std::string& word : words) command.push_back(word);
  bench::Json json{
      {"started",
       fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::now()))},
      {"command", command},
      {"program",
       {{"version", build.version}, {"compiler", build.compiler}, {"flags", build.flags}}},
      {"host", {{"name", host.name}, {"cpu", host.cpu}, {"isa", host.isa}}}};
  if (backend == kCuda) {
    const gpu::DeviceInfo device = gpu::device_info();
    json["device"] = {{"capability", device.capability}, {"processors", device.processors},
                      {"l2_bytes", device.l2_bytes},     {"memory_bytes", device.memory_bytes},
                      {"driver", device.driver},         {"runtime", device.runtime}};
  }
  return json;
}

// Measurements of other programs on this device.
bench::Document read_peers(const std::string& path, const std::string& device) {
  bench::Document peers = bench::read_document(path);
  for (const bench::Session& session : peers.sessions) {
    if (session.source == bench::kOwnSource)
      throw usage_error(
          fmt::format("--peers {}: is a run of kvx itself; kvx report takes several", path));
    if (session.device != device)
      throw usage_error(
          fmt::format("--peers {}: measured on {}, this is {}", path, session.device, device));
  }
  return peers;
}

// What the folder of --out holds already, of the same backend and device.
bench::Document continued(const Options& options, const bench::Plan& plan,
                          const std::string& device) {
  if (!options.has("out") || !bench::is_bench_run(options.required("out"))) return {};
  const std::string out = options.required("out");
  bench::Document document = bench::read_document(out);
  for (const bench::Session& session : document.sessions)
    if (session.source == bench::kOwnSource &&
        (session.backend != plan.backend || session.device != device))
      throw usage_error(fmt::format("--out {}: measured on {} ({}), this is {} ({}); use another",
                                    out, session.device, session.backend, device, plan.backend));
  return document;
}

class Run {
 public:
  Run(const Options& options, const std::vector<std::string>& words)
      : options_(options), plan_(bench::read_plan(options, [](const std::string& note) {
          tell(fmt::format("kvx: {}\n", note));
        })) {
    const std::string device = bench::device_name(plan_);
    if (options.has("peers")) peers_ = read_peers(options.required("peers"), device);
    if (options.has("baseline")) {
      const std::string path = options.required("baseline");
      before_ = bench::read_document(path);
      bench::check_comparable(*before_, path, plan_.backend, device, plan_.shapes);
    }
    document_ = continued(options, plan_, device);
    made_ = made(words, plan_.backend);
  }

  int run() {
    watch_interrupts();
    const auto measurements =
        std::ssize(plan_.subjects) * std::ssize(plan_.shapes) * std::ssize(plan_.ops);
    {
      Progress progress(measurements, options_.flag("quiet"));
      progress.start("memory bandwidth");
      const bench::Machine machine = bench::open_machine(plan_);
      document_.sessions.push_back({.source = bench::kOwnSource,
                                    .backend = plan_.backend,
                                    .device = machine.device,
                                    .read = machine.read,
                                    .copy = machine.copy,
                                    .made = made_,
                                    .absent = {}});
      bench::measure(plan_, machine, document_,
                     {.start = [&](const std::string& subject) { progress.start(subject); },
                      .done =
                          [&] {
                            progress.finish();
                            save();
                          },
                      .stop = interrupted});
    }
    bench::merge(document_, peers_);
    bench::drop_idle_sessions(document_);
    save();
    return finish();
  }

 private:
  void save() const {
    if (options_.has("out")) bench::write_bench_run(options_.required("out"), document_);
  }

  int finish() const {
    const std::string json = options_.has("json") ? options_.required("json") : "";
    const std::string text = json_text(bench::document_json(document_), 1) + "\n";
    if (json == "-") {
      print(text);
    } else {
      if (!json.empty()) write_file(json, text);
      print(bench::document_text(document_));
    }
    if (interrupted()) return static_cast<int>(Exit::kInterrupted);
    if (!before_) return 0;
    const bench::Comparison comparison = bench::compare(document_, *before_);
    (json == "-" ? tell : print)("\n" + bench::comparison_text(comparison));
    return comparison.good() ? 0 : static_cast<int>(Exit::kVerdict);
  }

  const Options& options_;
  bench::Plan plan_;
  bench::Document peers_, document_;
  std::optional<bench::Document> before_;
  bench::Json made_;
};

}  // namespace

int cmd_bench(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  return Run(options, words).run();
}

}  // namespace kvx::eval
