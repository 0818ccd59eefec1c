# Tests of `kvx check`: its parts, its program, and broken subjects that it must catch.
add_library(kvx_broken STATIC self/attention.cc self/broken.cc self/recoded.cc)
target_link_libraries(kvx_broken PUBLIC kvx_check PRIVATE kvx_num kvx_ref)
kvx_test(check_self LABEL quick DEPS kvx_broken SOURCES self/broken_test.cc)
target_compile_definitions(check_self PRIVATE KVX_INPUTS="${CMAKE_CURRENT_SOURCE_DIR}/inputs")
kvx_test(check_case LABEL quick DEPS kvx_check SOURCES unit/check_case_test.cc)
kvx_test(check_judge LABEL quick DEPS kvx_check SOURCES unit/check_fixed_test.cc unit/check_judge_test.cc)
kvx_test(check_cli LABEL quick DEPS kvx_eval SOURCES unit/check_cli_test.cc)
target_compile_definitions(check_cli PRIVATE KVX_PROGRAM="$<TARGET_FILE:kvx>")
add_dependencies(check_cli kvx)
foreach(test check_case check_judge check_cli)
  target_compile_definitions(${test} PRIVATE KVX_INPUTS="${CMAKE_CURRENT_SOURCE_DIR}/inputs")
endforeach()

# The reference in other chunks on some of every family.
add_test(NAME check.smoke COMMAND kvx check --backend cpu --set smoke --quiet --inputs ${CMAKE_CURRENT_SOURCE_DIR}/inputs
  --out ${CMAKE_CURRENT_BINARY_DIR}/check-failures)
set_tests_properties(check.smoke PROPERTIES LABELS slow TIMEOUT 900 PROCESSORS 2 COST 50)
add_test(NAME check.smoke_fixed COMMAND kvx check --backend cpu --arithmetic fixed --set smoke --quiet
  --inputs ${CMAKE_CURRENT_SOURCE_DIR}/inputs --out ${CMAKE_CURRENT_BINARY_DIR}/check-failures)
set_tests_properties(check.smoke_fixed PROPERTIES LABELS slow TIMEOUT 900 PROCESSORS 2 COST 10)
