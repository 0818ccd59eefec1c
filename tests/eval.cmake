# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(eval_stats LABEL quick DEPS kvx_eval SOURCES unit/eval_stats_test.cc)
kvx_test(eval_python_random LABEL quick DEPS kvx_tasks SOURCES unit/eval_python_random_test.cc)
kvx_test(eval_extract LABEL quick DEPS kvx_tasks SOURCES unit/eval_extract_test.cc)
kvx_test(eval_gsm8k LABEL quick DEPS kvx_tasks SOURCES unit/eval_gsm8k_test.cc)
kvx_test(eval_arith LABEL quick DEPS kvx_tasks SOURCES unit/eval_arith_test.cc)
target_compile_definitions(eval_arith PRIVATE KVX_ARITH_JSON="${PROJECT_SOURCE_DIR}/data/tasks/arith.json"
  KVX_ARITH_PROMPTS="${CMAKE_CURRENT_SOURCE_DIR}/oracle/arith_prompts.txt")
kvx_test(eval_needle LABEL quick DEPS kvx_tasks SOURCES unit/eval_needle_test.cc unit/eval_needle_parts_test.cc)
target_compile_definitions(eval_needle PRIVATE KVX_NEEDLE_PROMPTS="${CMAKE_CURRENT_SOURCE_DIR}/oracle/needle_prompts.txt"
  KVX_DEMO_TEXT="${PROJECT_SOURCE_DIR}/data/text/demo.txt"
  KVX_NEEDLE_WORDS="${PROJECT_SOURCE_DIR}/data/tasks/needle_words.json")
kvx_test(eval_text LABEL quick DEPS kvx_eval SOURCES unit/eval_text_test.cc)
kvx_test(eval_store LABEL quick DEPS kvx_eval SOURCES unit/eval_store_test.cc)
kvx_test(eval_plot LABEL quick DEPS kvx_eval SOURCES unit/eval_plot_test.cc)
kvx_test(eval_cli LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_cli_test.cc)
kvx_test(eval_ppl LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_ppl_test.cc)
kvx_test(eval_error LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_error_test.cc unit/eval_error_run_test.cc)
kvx_test(eval_generate LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_generate_test.cc)
kvx_test(eval_samples LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_samples_test.cc)
kvx_test(eval_tensors LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_tensors_test.cc)
kvx_test(eval_capture LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_capture_test.cc)
kvx_test(eval_calibrate LABEL slow DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_calibrate_test.cc)
kvx_test(eval_golden LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_golden_test.cc)
kvx_test(eval_divergence LABEL quick DEPS kvx_eval SOURCES unit/eval_divergence_test.cc)
kvx_test(eval_protocol LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_protocol_test.cc)
kvx_test(eval_protocol_tokens LABEL slow DEPS kvx_eval SOURCES slow/eval_protocol_tokens_test.cc)
kvx_test(eval_identity LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_identity_test.cc)
kvx_test(eval_equality LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_equality_test.cc)
kvx_test(eval_shadow LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/eval_shadow_test.cc)
kvx_test(eval_shipped LABEL quick DEPS kvx_eval SOURCES unit/eval_shipped_test.cc)
target_compile_definitions(eval_shipped PRIVATE KVX_SHIPPED="${PROJECT_SOURCE_DIR}/data")
kvx_test(eval_report LABEL quick DEPS kvx_report SOURCES unit/eval_report_test.cc)
kvx_test(eval_report_page LABEL quick DEPS kvx_report SOURCES unit/eval_report_page_test.cc)
foreach(test eval_report eval_report_page eval_shipped)
  target_compile_definitions(${test} PRIVATE KVX_PUBLISHED="${PROJECT_SOURCE_DIR}/reports/published")
endforeach()
kvx_test(eval_reproduce LABEL quick DEPS kvx_eval kvx_tiny_model
  SOURCES unit/eval_reproduce_judge_test.cc unit/eval_reproduce_recipe_test.cc unit/eval_reproduce_run_test.cc)
target_compile_definitions(eval_reproduce PRIVATE KVX_SCHEMA_PAGE="${PROJECT_SOURCE_DIR}/reports/schema/reproduce.md")
kvx_test(eval_bench LABEL quick DEPS kvx_eval SOURCES unit/bench_document_test.cc unit/bench_host_test.cc)
target_compile_definitions(eval_bench PRIVATE KVX_SCHEMA_PAGE="${PROJECT_SOURCE_DIR}/reports/schema/bench.md")
kvx_test(eval_bench_cli LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES unit/bench_cli_test.cc)
kvx_test(eval_lost_power LABEL slow TIMEOUT 900 DEPS kvx_eval kvx_tiny_model
  SOURCES slow/eval_lost_power_test.cc slow/eval_killed_samples_test.cc slow/eval_sample_sweep_test.cc)
foreach(test eval_bench_cli eval_calibrate eval_cli eval_equality eval_error eval_samples eval_ppl eval_tensors eval_capture eval_golden eval_protocol eval_identity
    eval_report_page eval_lost_power eval_reproduce eval_shipped)
  target_compile_definitions(${test} PRIVATE KVX_PROGRAM="$<TARGET_FILE:kvx>")
  add_dependencies(${test} kvx)
endforeach()
foreach(test eval_error eval_ppl eval_samples)
  target_compile_definitions(${test} PRIVATE KVX_SCHEMA_PAGE="${PROJECT_SOURCE_DIR}/reports/schema/result.md")
endforeach()
target_compile_definitions(eval_samples PRIVATE KVX_NEEDLE_WORDS="${PROJECT_SOURCE_DIR}/data/tasks/needle_words.json")
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
target_compile_definitions(eval_lost_power PRIVATE KVX_PYTHON="${Python3_EXECUTABLE}"
  KVX_SAME_VALUES="${PROJECT_SOURCE_DIR}/reports/same_values.py")

# What eval_arith compares with, made anew.
add_test(NAME oracle.arith_prompts COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/oracle/arith_prompts.py)
set_tests_properties(oracle.arith_prompts PROPERTIES LABELS quick)

# This program against the golden vectors in the repository.
add_test(NAME golden.verify COMMAND kvx verify --golden ${PROJECT_SOURCE_DIR}/data/golden)
set_tests_properties(golden.verify PROPERTIES LABELS quick)

# Results of the benchmark's peers, which need PyTorch and, of the stand-in, Triton, but no device.
add_test(NAME peers.attention COMMAND ${CMAKE_COMMAND} -E env TRITON_INTERPRET=1
  ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/peers/attention.py --check --tokens 300 --heads 4/2 --dim 64)
set_tests_properties(peers.attention PROPERTIES LABELS slow SKIP_REGULAR_EXPRESSION "needs PyTorch")
