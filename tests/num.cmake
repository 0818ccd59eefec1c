# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(num_values_test LABEL quick DEPS kvx_num SOURCES unit/num_values_test.cc)
kvx_test(num_formats_test LABEL quick DEPS kvx_num kvx_gen SOURCES unit/num_formats_test.cc)
kvx_test(num_minifloat_test LABEL quick DEPS kvx_num SOURCES unit/num_minifloat_test.cc)
kvx_test(num_simd_test LABEL quick DEPS kvx_num kvx_gen SOURCES unit/num_simd_test.cc)
kvx_test(num_environment_test LABEL quick DEPS kvx_num OpenMP::OpenMP_CXX SOURCES unit/num_environment_test.cc)
kvx_test(fixed_values_test LABEL quick DEPS kvx_num SOURCES unit/fixed_values_test.cc)
kvx_test(fixed_test LABEL quick DEPS kvx_num kvx_gen rapidcheck SOURCES unit/fixed_test.cc)
kvx_test(fixed_error_test LABEL quick DEPS kvx_num kvx_gen rapidcheck SOURCES unit/fixed_error_test.cc)
kvx_test(fixed_kernel_test LABEL quick DEPS kvx_num kvx_gen rapidcheck SOURCES unit/fixed_kernel_test.cc)
kvx_test(fixed_orders_test LABEL quick DEPS kvx_num kvx_gen SOURCES unit/fixed_orders_test.cc)
kvx_test(num_accuracy_test LABEL quick DEPS kvx_num kvx_gen SOURCES unit/num_accuracy_test.cc)
target_compile_definitions(num_accuracy_test PRIVATE KVX_STRIDE=4099)
kvx_test(num_accuracy_dense_test LABEL slow DEPS kvx_num kvx_gen SOURCES unit/num_accuracy_test.cc)
target_compile_definitions(num_accuracy_dense_test PRIVATE KVX_STRIDE=61)
# PROCESSORS: what uses every core of a small machine runs alone. COST: the longest start first, before ctest has seen them run.
kvx_test(num_domain_test LABEL slow DEPS kvx_num Eigen3::Eigen SOURCES slow/num_domain_test.cc PROPERTIES PROCESSORS 2 COST 30)

# Hashes of results, and their equality between compilers, optimisation levels and instruction sets.
add_executable(kvx_hash_vectors hash/vectors.cc hash/caches.cc hash/engine.cc)
target_link_libraries(kvx_hash_vectors PRIVATE kvx_num kvx_gen kvx_model kvx_ref kvx_tiny_model)
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
add_test(NAME hash.cross_build
  COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/hash/cross_build.py ${PROJECT_SOURCE_DIR}
    ${CMAKE_CURRENT_BINARY_DIR}/cross ${CMAKE_CURRENT_SOURCE_DIR}/hash/golden.txt)
set_tests_properties(hash.cross_build PROPERTIES LABELS slow TIMEOUT 1200 SKIP_RETURN_CODE 77 PROCESSORS 2 COST 200)
add_test(NAME hash.this_build
  COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:kvx_hash_vectors>
    -DGOLDEN=${CMAKE_CURRENT_SOURCE_DIR}/hash/golden.txt -P ${CMAKE_CURRENT_SOURCE_DIR}/hash/this_build.cmake)
set_tests_properties(hash.this_build PROPERTIES LABELS quick)
