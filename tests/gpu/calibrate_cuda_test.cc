// `kvx calibrate`, and `kvx reproduce` before it measures, write the same files on either backend.
// Skipped where there is no device.
#include <gtest/gtest.h>

#include "eval/backend.h"
#include "eval/calibrate_file.h"
#include "eval/reproduce/calibrations.h"
#include "gpu/registry.h"
#include "ref/registry.h"
#include "tests/support/eval_sweep.h"
#include "tests/support/tiny_model.h"

namespace kvx::eval {
namespace {

class CalibrateCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
    test::write_file(temp_ / "text.txt", test::Sweep::text(0));
  }

  // The file's bytes.
  std::string calibrated(const std::string& scheme, const std::string& backend) {
    const Options options(calibrate_options(), {"--scheme", scheme, "--model", temp_ / "model",
                                                "--data", temp_ / "text.txt", "--samples", "3",
                                                "--length", "150", "--backend", backend});
    const CalibrationInputs in = read_calibration(options);
    EXPECT_EQ(in.backend, backend);
    const auto calibrator = ref::make_calibrator(in.scheme);
    calibrate(*in.text, in.length, in.backend, *calibrator);
    write_calibration(*calibrator, in.metadata, temp_ / "artifact");
    return test::read_file(temp_ / "artifact");
  }

  test::TempDir temp_;
};

TEST_F(CalibrateCuda, FilesAreEqual) {
  for (const char* architecture : {"LlamaForCausalLM", "Qwen3ForCausalLM"}) {
    test::TinyModelSpec spec;
    spec.architecture = architecture;
    spec.head_dim = 32;
    spec.layers = 3;
    test::write_tiny_model(temp_ / "model", spec);
    for (const char* scheme : {"kvquant:nuq3,o0.05,qnorm", "kvquant:nuq4,profile=paper",
                               "kvquant:nuq2,vaxis=channel,rope=post", "kvquant:int4,o0.1",
                               "fp8:e4m3,scale=head", "fp8:e5m2,scale=tensor"}) {
      const std::string cpu = calibrated(scheme, kCpu);
      EXPECT_GT(cpu.size(), 100u);
      EXPECT_EQ(calibrated(scheme, kCuda), cpu) << architecture << ", " << scheme;
    }
  }
}

// Two schemes share their passes, a third needs its own; artifacts are named by their hashes.
TEST_F(CalibrateCuda, ArtifactsOfARecipeAreEqual) {
  test::write_tiny_model(temp_ / "model", test::TinyModelSpec());
  reproduce::Recipe recipe;
  reproduce::RecipeTable& table = recipe.tables.emplace_back();
  for (const auto& [name, scheme] :
       {std::pair("a", "kvquant:nuq3"), {"b", "kvquant:nuq2,o0.05"}, {"c", "kvquant:int4"}}) {
    recipe.calibrations.push_back({name, scheme, 2, 100});
    reproduce::RecipeRow& row = table.rows.emplace_back();
    row.id = name;
    row.scheme = std::string(scheme) + ",cb=@" + name;
  }
  namespace po = boost::program_options;
  po::options_description known;
  for (const char* name : {"model", "threads", "backend"})
    known.add_options()(name, po::value<std::string>());
  reproduce::add_calibration_options(known);
  const auto made = [&](const std::string& backend) {
    const Options options(known, {"--model", temp_ / "model", "--threads", "0", "--backend",
                                  backend, "--calibration-data", temp_ / "text.txt"});
    return reproduce::make_artifacts(recipe, options, temp_ / backend, [](const std::string&) {});
  };
  const auto cpu = made(kCpu);
  EXPECT_EQ(cpu.size(), 3u);
  EXPECT_EQ(made(kCuda), cpu);
  EXPECT_EQ(made("cpu,cuda"), cpu);
}

}  // namespace
}  // namespace kvx::eval
