# Tests of the CUDA side. What needs a device is skipped without one.
kvx_test(gpu_pages_test LABEL quick DEPS kvx_gpu_pages rapidcheck
  SOURCES gpu/page_table_test.cc gpu/pool_plan_test.cc)
if(KVX_HAVE_CUDA)
  kvx_test(gpu_matmul_test LABEL quick DEPS kvx_gpu kvx_num kvx_gen SOURCES gpu/matmul_test.cc)
  kvx_test(gpu_attend_test LABEL quick DEPS kvx_gpu kvx_num kvx_gen
    SOURCES gpu/attend_test.cc gpu/attend_case.cc gpu/attend_codecs.cu)
  kvx_test(gpu_cache_test LABEL quick DEPS kvx_gpu kvx_ref kvx_gen
    SOURCES gpu/guarded_test.cc gpu/layer_cache_test.cc gpu/pool_test.cc)
  kvx_test(gpu_laws_test LABEL quick DEPS kvx_gpu kvx_laws SOURCES gpu/laws_test.cc)
  add_library(kvx_gpu_ieee STATIC gpu/ieee_kernels.cu)
  target_link_libraries(kvx_gpu_ieee PUBLIC kvx_gpu)
  kvx_test(gpu_ieee_test LABEL quick DEPS kvx_gpu_ieee kvx_num SOURCES gpu/ieee_test.cc)
  kvx_test(gpu_elementwise_test LABEL quick DEPS kvx_gpu kvx_num kvx_gen SOURCES gpu/elementwise_test.cc)
  kvx_test(gpu_engine_test LABEL quick DEPS kvx_gpu kvx_model kvx_ref kvx_gen kvx_tiny_model TIMEOUT 600
    SOURCES gpu/engine_test.cc gpu/engine_refusals_test.cc)
  kvx_test(gpu_scheme_host_test LABEL quick DEPS kvx_gpu kvx_ref kvx_gen SOURCES gpu/scheme_host_test.cc)
  kvx_test(gpu_scheme_kernels_test LABEL quick DEPS kvx_gpu kvx_ref kvx_gen SOURCES gpu/scheme_kernels_test.cc)
endif()
kvx_test(gpu_eval_test LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES gpu/eval_cuda_test.cc)
