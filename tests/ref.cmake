# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(api_descriptor_test LABEL quick DEPS kvx_api rapidcheck SOURCES unit/api_descriptor_test.cc)
kvx_test(ref_schemes_test LABEL quick DEPS kvx_ref kvx_gen
  SOURCES unit/ref_cache_test.cc unit/ref_fp_test.cc unit/ref_fp8_test.cc unit/ref_fixed_test.cc unit/ref_ggml_test.cc unit/ref_int_test.cc
    unit/ref_kivi_test.cc unit/ref_kvquant_test.cc unit/ref_kvquant_store_test.cc)
kvx_test(kvquant_fit_test LABEL quick DEPS kvx_ref SOURCES unit/kvquant_fit_test.cc)

# The laws, for the registered schemes and, as a test of the tests, for caches that break one.
add_library(kvx_laws OBJECT laws/append_laws.cc laws/content_laws.cc laws/kvquant_law.cc laws/metadata_law.cc laws/subject.cc laws/suite.cc)
target_link_libraries(kvx_laws PUBLIC kvx_test_main kvx_ref kvx_gen rapidcheck)
kvx_test(laws_test LABEL quick DEPS kvx_laws SOURCES laws/registered_test.cc)
add_executable(laws_broken laws/broken.cc)
target_link_libraries(laws_broken PRIVATE kvx_laws)
kvx_test(laws_tester_test LABEL quick DEPS kvx_api SOURCES laws/tester_test.cc)
target_compile_definitions(laws_tester_test PRIVATE KVX_LAWS_BROKEN="$<TARGET_FILE:laws_broken>")
add_dependencies(laws_tester_test laws_broken)

# What measures rounding errors of attention (reports/published/attention-error); then once more in NumPy on a model's activations,
# skipped without NumPy or the model.
include(attention_error.cmake)
kvx_test(attention_error_test LABEL quick DEPS kvx_attention_error kvx_gen SOURCES unit/attention_error_test.cc)
if(KVX_BENCHMARKS)
  add_test(NAME oracle.attention_errors
    COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/attention_errors.py
      $<TARGET_FILE:kvx> $<TARGET_FILE:bench_attention_error>)
  set_tests_properties(oracle.attention_errors PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 900)
endif()

# The kivi quantizer against NumPy's float16. Python is the one of KVX_PYTHON, else the first with NumPy; without one the test is
# skipped.
add_executable(kivi_groups oracle/kivi_groups.cc)
target_link_libraries(kivi_groups PRIVATE kvx_ref kvx_gen)
add_test(NAME oracle.kivi_float16
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/kivi_float16.py
    $<TARGET_FILE:kivi_groups>)
set_tests_properties(oracle.kivi_float16 PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 900 COST 20)

# The ggml formats against the package gguf, which implements them in NumPy.
add_executable(ggml_blocks oracle/ggml_blocks.cc)
target_link_libraries(ggml_blocks PRIVATE kvx_ref kvx_gen)
add_test(NAME oracle.ggml_blocks
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/ggml_blocks.py
    $<TARGET_FILE:ggml_blocks>)
set_tests_properties(oracle.ggml_blocks PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 900 COST 20)

# kvquant against PyTorch, both profiles; skipped without PyTorch.
add_test(NAME oracle.kvquant_torch
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/kvquant_torch.py
    $<TARGET_FILE:kvx>)
set_tests_properties(oracle.kvquant_torch PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 900)
