# Tests of this area: kvx_test(...) and add_test(...) lines.

# Writers of small checkpoints; for tests of other areas too.
add_library(kvx_tiny_model STATIC support/tiny_model.cc support/model_writer.cc support/gguf_blocks.cc)
target_link_libraries(kvx_tiny_model PUBLIC kvx_files PRIVATE kvx_num nlohmann_json::nlohmann_json)

kvx_test(model_checkpoint LABEL quick DEPS kvx_tiny_model nlohmann_json::nlohmann_json
  SOURCES unit/model_checkpoint_test.cc)
kvx_test(model_sweep LABEL quick DEPS kvx_tiny_model SOURCES unit/model_sweep_test.cc)
# Lines of text that tokenizers are compared on, and upstream's ids of them.
add_library(kvx_text_lines STATIC support/text_lines.cc)
target_link_libraries(kvx_text_lines PUBLIC kvx_files PRIVATE kvx_gen)
kvx_test(model_tokenizer LABEL slow DEPS kvx_tiny_model kvx_text_lines nlohmann_json::nlohmann_json
  SOURCES unit/model_tokenizer_test.cc)
kvx_test(model_token_ids LABEL slow DEPS kvx_tiny_model kvx_text_lines nlohmann_json::nlohmann_json kvx_sentencepiece
  SOURCES unit/model_token_ids_test.cc)
target_compile_definitions(model_token_ids PRIVATE KVX_TOKEN_IDS="${CMAKE_CURRENT_SOURCE_DIR}/oracle/token_ids.txt")

kvx_test(model_hostile LABEL quick DEPS kvx_tiny_model kvx_text_lines kvx_gen nlohmann_json::nlohmann_json
  SOURCES unit/model_hostile_folder_test.cc unit/model_hostile_gguf_test.cc unit/model_hostile_tokenizer_test.cc)
foreach(test model_hostile model_token_ids)
  target_compile_definitions(${test} PRIVATE KVX_TOKENIZERS="${CMAKE_CURRENT_SOURCE_DIR}/inputs/tokenizers")
endforeach()

# Writes those lines and their ids for the comparison with upstream itself, which needs the Python packages gguf, numpy,
# sentencepiece and tokenizers; without them the test is skipped.
add_executable(kvx_tokens oracle/tokens.cc)
target_link_libraries(kvx_tokens PRIVATE kvx_files kvx_text_lines)
add_test(NAME oracle.token_ids
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/token_ids.py
    --tool $<TARGET_FILE:kvx_tokens>)
set_tests_properties(oracle.token_ids PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 1800)

# The quantised GGUF types against the Python package gguf; skipped where KVX_PYTHON names none that has it.
add_executable(gguf_rows oracle/gguf_rows.cc)
target_link_libraries(gguf_rows PRIVATE kvx_files)
add_test(NAME oracle.gguf_types
  COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/with_numpy.sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/gguf_types.py
    $<TARGET_FILE:gguf_rows>)
set_tests_properties(oracle.gguf_types PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 300)
