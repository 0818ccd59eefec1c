// The input is a bench.json: of a run of `kvx bench`, or of peers.
#include <stdexcept>

#include "eval/bench/baseline.h"
#include "eval/bench/page.h"
#include "eval/bench/table.h"
#include "tests/fuzz/folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace bench = kvx::bench;
  kvx::fuzz::feed(data, size, "bench.json", [&](const std::string& path) {
    const bench::Document document = bench::read_document(path);
    const bench::Json json = bench::document_json(document);
    if (bench::document_json(bench::parse_document(json, path)) != json)
      throw std::logic_error("a document does not come back from its JSON");
    bench::document_text(document);
    bench::document_csv(document);
    if (bench::compare(document, document).slower() != 0)
      throw std::logic_error("slower than itself");
    if (document.sessions.empty()) return;
    const std::string page = bench::bench_page(document, "");
    for (const char* wrong : {"=\"nan", "=\"-nan", "=\"inf", "=\"-inf"})
      if (page.find(wrong) != std::string::npos)
        throw std::logic_error("a place that is no number");
  });
  return 0;
}
