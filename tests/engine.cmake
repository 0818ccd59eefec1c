kvx_test(gemm_test LABEL quick DEPS kvx_num SOURCES unit/gemm_test.cc)
kvx_test(attention_tile_test LABEL quick DEPS kvx_num SOURCES unit/attention_tile_test.cc)
kvx_test(engine_test LABEL quick DEPS kvx_model kvx_ref kvx_tiny_model SOURCES unit/engine_test.cc)
kvx_test(loss_gradient_test LABEL quick DEPS kvx_model kvx_ref kvx_tiny_model SOURCES unit/loss_gradient_test.cc)
kvx_test(stories_test LABEL slow DEPS kvx_model kvx_ref SOURCES unit/stories_test.cc)
kvx_test(engine_modes_test LABEL slow DEPS kvx_model kvx_ref kvx_gen kvx_tiny_model SOURCES unit/engine_modes_test.cc)
kvx_test(model_containers LABEL quick DEPS kvx_model kvx_ref kvx_tiny_model SOURCES unit/model_containers_test.cc)

# Writes logits for tests/oracle/compare_logits.py and compare_containers.py.
add_executable(kvx_logits oracle/logits.cc)
target_link_libraries(kvx_logits PRIVATE kvx_model kvx_ref)

# Gradients against PyTorch's autograd; skipped without PyTorch.
add_executable(kvx_gradients oracle/gradients.cc)
target_link_libraries(kvx_gradients PRIVATE kvx_model kvx_ref)
add_test(NAME oracle.gradients
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/compare_gradients.py
    $<TARGET_FILE:kvx_gradients>)
set_tests_properties(oracle.gradients PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 900)
