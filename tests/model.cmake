# Tests of this area: kvx_test(...) and add_test(...) lines.

# Writers of small checkpoints; for tests of other areas too.
add_library(kvx_tiny_model STATIC support/tiny_model.cc support/model_writer.cc)
target_link_libraries(kvx_tiny_model PUBLIC kvx_files PRIVATE kvx_num nlohmann_json::nlohmann_json)

kvx_test(model_checkpoint LABEL quick DEPS kvx_tiny_model nlohmann_json::nlohmann_json
  SOURCES unit/model_checkpoint_test.cc)
kvx_test(model_hostile LABEL quick DEPS kvx_tiny_model nlohmann_json::nlohmann_json
  SOURCES unit/model_hostile_folder_test.cc unit/model_hostile_gguf_test.cc unit/model_hostile_tokenizer_test.cc)
kvx_test(model_sweep LABEL quick DEPS kvx_tiny_model SOURCES unit/model_sweep_test.cc)
kvx_test(model_tokenizer LABEL quick DEPS kvx_tiny_model nlohmann_json::nlohmann_json
  SOURCES unit/model_tokenizer_test.cc)

# Lines of text that tokenizers are compared on.
add_library(kvx_text_lines STATIC support/text_lines.cc)
target_link_libraries(kvx_text_lines PUBLIC kvx_files PRIVATE kvx_gen)

# Writes those lines and their ids for tests/oracle/token_ids.py.
add_executable(kvx_tokens oracle/tokens.cc)
target_link_libraries(kvx_tokens PRIVATE kvx_files kvx_text_lines)
