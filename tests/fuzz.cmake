# Fuzz targets of what reads hostile input. In every build each target replays its corpus; with KVX_FUZZ (clang, preset
# `fuzz`) it is also a libFuzzer program, fuzz_TARGET.
add_library(kvx_fuzz_deps INTERFACE)
target_link_libraries(kvx_fuzz_deps INTERFACE kvx_tiny_model kvx_ref kvx_tasks kvx_eval)

add_library(kvx_fuzz_replay OBJECT fuzz/replay.cc)
target_include_directories(kvx_fuzz_replay PRIVATE ${PROJECT_SOURCE_DIR})

foreach(target gguf safetensors config tokenizer_json tokenizer_model descriptor needle recipe bench)
  add_executable(fuzz_replay_${target} fuzz/${target}.cc)
  target_link_libraries(fuzz_replay_${target} PRIVATE kvx_fuzz_replay kvx_fuzz_deps)
  add_test(NAME fuzz.replay.${target}
    COMMAND fuzz_replay_${target} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${target})
  set_tests_properties(fuzz.replay.${target} PROPERTIES LABELS quick)
  if(KVX_FUZZ)
    add_executable(fuzz_${target} fuzz/${target}.cc)
    target_link_libraries(fuzz_${target} PRIVATE kvx_fuzz_deps)
    target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer)
    list(APPEND KVX_FUZZ_TARGETS fuzz_${target})
  endif()
endforeach()

add_executable(fuzz_seeds fuzz/write_seeds.cc)
target_link_libraries(fuzz_seeds PRIVATE kvx_fuzz_deps)
if(KVX_FUZZ)
  add_custom_target(fuzzers DEPENDS ${KVX_FUZZ_TARGETS} fuzz_seeds)
endif()
