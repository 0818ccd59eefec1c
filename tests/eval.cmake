# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(eval_stats LABEL quick DEPS kvx_eval SOURCES unit/eval_stats_test.cc)
kvx_test(eval_text LABEL quick DEPS kvx_eval SOURCES unit/eval_text_test.cc)
kvx_test(eval_store LABEL quick DEPS kvx_eval SOURCES unit/eval_store_test.cc)
kvx_test(eval_plot LABEL quick DEPS kvx_eval SOURCES unit/eval_plot_test.cc)
kvx_test(eval_cli LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_cli_test.cc)
kvx_test(eval_ppl LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_ppl_test.cc)
kvx_test(eval_tensors LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_tensors_test.cc)
kvx_test(eval_capture LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_capture_test.cc)
kvx_test(eval_golden LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_golden_test.cc)
foreach(test eval_cli eval_ppl eval_tensors eval_capture eval_golden)
  target_compile_definitions(${test} PRIVATE KVX_PROGRAM="$<TARGET_FILE:kvx>")
  add_dependencies(${test} kvx)
endforeach()
target_compile_definitions(eval_ppl PRIVATE KVX_SCHEMA_PAGE="${PROJECT_SOURCE_DIR}/reports/schema/result.md")

# This program against the golden vectors in the repository.
add_test(NAME golden.verify COMMAND kvx verify --golden ${PROJECT_SOURCE_DIR}/data/golden)
set_tests_properties(golden.verify PROPERTIES LABELS quick)
