# Tests of this area: kvx_test(...) and add_test(...) lines.

# Writers of small checkpoints; for tests of other areas too.
add_library(kvx_tiny_model STATIC support/tiny_model.cc support/model_writer.cc support/gguf_blocks.cc)
target_link_libraries(kvx_tiny_model PUBLIC kvx_files PRIVATE kvx_num nlohmann_json::nlohmann_json)

kvx_test(model_checkpoint LABEL quick DEPS kvx_tiny_model nlohmann_json::nlohmann_json
  SOURCES unit/model_checkpoint_test.cc)
kvx_test(model_hostile LABEL quick DEPS kvx_tiny_model nlohmann_json::nlohmann_json
  SOURCES unit/model_hostile_folder_test.cc unit/model_hostile_gguf_test.cc unit/model_hostile_tokenizer_test.cc)
kvx_test(model_sweep LABEL quick DEPS kvx_tiny_model SOURCES unit/model_sweep_test.cc)
kvx_test(model_tokenizer LABEL quick DEPS kvx_tiny_model nlohmann_json::nlohmann_json
  SOURCES unit/model_tokenizer_test.cc)

# Writes token ids for tests/oracle/compare_tokens.py.
add_executable(kvx_tokens oracle/tokens.cc)
target_link_libraries(kvx_tokens PRIVATE kvx_files)

# The quantised GGUF types against the Python package gguf; skipped where KVX_PYTHON names none that has it.
add_executable(gguf_rows oracle/gguf_rows.cc)
target_link_libraries(gguf_rows PRIVATE kvx_files)
add_test(NAME oracle.gguf_types
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/gguf_types.py
    $<TARGET_FILE:gguf_rows>)
set_tests_properties(oracle.gguf_types PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 300)
