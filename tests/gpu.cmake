# Tests of the CUDA side: one entry a binary, for a program with kernels takes a second to start. Those that need a device are
# skipped, with the reason in their output, where there is none; a build from nothing (KVX_ONE_OFF) then leaves them out, but for
# those marked HOST.
function(kvx_device_test name)
  cmake_parse_arguments(arg "HOST" "" "DEPS;SOURCES" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE kvx_test_main ${arg_DEPS})
  if(KVX_ONE_OFF AND NOT arg_HOST AND NOT EXISTS /dev/nvidiactl AND NOT EXISTS /dev/dxg)
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo "no device: ${name} was not built")
  else()
    add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS quick TIMEOUT 900
    SKIP_REGULAR_EXPRESSION "no device;built without CUDA;no CUDA-capable device")
endfunction()

kvx_test(gpu_pages_test LABEL quick DEPS kvx_gpu_pages rapidcheck
  SOURCES gpu/page_table_test.cc gpu/pool_plan_test.cc gpu/step_lengths_test.cc)
if(KVX_HAVE_CUDA)
  kvx_device_test(gpu_matmul_test DEPS kvx_gpu kvx_num kvx_gen SOURCES gpu/matmul_test.cc)
  include(attend_case.cmake)
  kvx_device_test(gpu_attend_test DEPS kvx_attend_case SOURCES gpu/attend_test.cc)
  include(fused_case.cmake)
  kvx_device_test(gpu_fused_test DEPS kvx_fused_case SOURCES gpu/fused_test.cc)
  kvx_device_test(gpu_cache_test DEPS kvx_gpu kvx_ref kvx_gen
    SOURCES gpu/guarded_test.cc gpu/layer_cache_test.cc gpu/pool_test.cc)
  kvx_device_test(gpu_laws_test DEPS kvx_gpu kvx_laws SOURCES gpu/laws_test.cc)
  add_library(kvx_gpu_ieee STATIC EXCLUDE_FROM_ALL gpu/ieee_kernels.cu)
  target_link_libraries(kvx_gpu_ieee PUBLIC kvx_gpu)
  kvx_device_test(gpu_ieee_test DEPS kvx_gpu_ieee kvx_num SOURCES gpu/ieee_test.cc)
  kvx_device_test(gpu_elementwise_test DEPS kvx_gpu kvx_num kvx_gen SOURCES gpu/elementwise_test.cc)
  kvx_device_test(gpu_engine_test DEPS kvx_gpu kvx_model kvx_ref kvx_gen kvx_tiny_model
    SOURCES gpu/engine_test.cc gpu/engine_fixed_test.cc gpu/engine_refusals_test.cc)
  kvx_device_test(gpu_gradient_test DEPS kvx_gpu kvx_model kvx_ref kvx_gen kvx_tiny_model
    SOURCES gpu/gradient_ops_test.cc gpu/loss_gradient_test.cc)
  kvx_device_test(gpu_scheme_host_test HOST DEPS kvx_gpu kvx_ref kvx_gen SOURCES gpu/scheme_host_test.cc)
  kvx_device_test(gpu_scheme_kernels_test DEPS kvx_gpu kvx_ref kvx_gen SOURCES gpu/scheme_kernels_test.cc)
endif()
kvx_device_test(gpu_eval_test DEPS kvx_eval kvx_tiny_model SOURCES gpu/calibrate_cuda_test.cc gpu/eval_cuda_test.cc)
kvx_device_test(gpu_bench_test DEPS kvx_eval SOURCES gpu/bench_test.cc)
target_compile_definitions(gpu_bench_test PRIVATE KVX_PROGRAM="$<TARGET_FILE:kvx>")
add_dependencies(gpu_bench_test kvx)
