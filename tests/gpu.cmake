# Tests of the CUDA side. What needs a device is skipped without one.
kvx_test(gpu_pages_test LABEL quick DEPS kvx_gpu_pages rapidcheck
  SOURCES gpu/page_table_test.cc gpu/pool_plan_test.cc)
if(KVX_HAVE_CUDA)
  kvx_test(gpu_attend_test LABEL quick DEPS kvx_gpu kvx_num kvx_gen
    SOURCES gpu/attend_test.cc gpu/attend_case.cc gpu/attend_codecs.cu)
  kvx_test(gpu_cache_test LABEL quick DEPS kvx_gpu kvx_ref kvx_gen
    SOURCES gpu/layer_cache_test.cc gpu/pool_test.cc)
  kvx_test(gpu_laws_test LABEL quick DEPS kvx_gpu kvx_laws SOURCES gpu/laws_test.cc)
endif()
