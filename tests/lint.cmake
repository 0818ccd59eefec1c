# Guards over the sources, the build flags and the symbols (ieee.md, section 3); each lint is itself tested on planted
# violations.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
set(KVX_LINT ${Python3_EXECUTABLE} -B)
set(KVX_LINT_DIR ${PROJECT_SOURCE_DIR}/tests/lint)

add_test(NAME lint.includes COMMAND ${KVX_LINT} ${KVX_LINT_DIR}/includes.py ${PROJECT_SOURCE_DIR})
add_test(NAME lint.sources COMMAND ${KVX_LINT} ${KVX_LINT_DIR}/sources.py ${PROJECT_SOURCE_DIR})
add_test(NAME lint.selftest COMMAND ${KVX_LINT} ${KVX_LINT_DIR}/selftest.py ${CMAKE_CXX_COMPILER} ${CMAKE_NM})

# Needs CMAKE_EXPORT_COMPILE_COMMANDS, which every preset sets.
if(CMAKE_EXPORT_COMPILE_COMMANDS)
  add_test(NAME lint.flags
    COMMAND ${KVX_LINT} ${KVX_LINT_DIR}/flags.py ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/compile_commands.json)
  set_tests_properties(lint.flags PROPERTIES LABELS quick)
endif()

# The libraries that decide bits.
add_test(NAME lint.symbols
  COMMAND ${KVX_LINT} ${KVX_LINT_DIR}/symbols.py ${CMAKE_NM} $<TARGET_FILE:kvx_num> $<TARGET_FILE:kvx_gen>
    $<TARGET_FILE:kvx_ref> $<TARGET_FILE:kvx_files> $<TARGET_FILE:kvx_model>)
set_tests_properties(lint.includes lint.sources lint.selftest lint.symbols PROPERTIES LABELS quick)

# The kernels. Without cuobjdump (CUDA toolkit, PyPI's nvidia-cuda-cuobjdump; KVX_CUOBJDUMP) the test is skipped.
if(KVX_HAVE_CUDA)
  add_test(NAME lint.device_code COMMAND ${KVX_LINT} ${KVX_LINT_DIR}/device_code.py $<TARGET_FILE:kvx_gpu>)
  set_tests_properties(lint.device_code PROPERTIES LABELS slow SKIP_RETURN_CODE 77)
endif()
