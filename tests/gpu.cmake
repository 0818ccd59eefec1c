# Tests of the CUDA side. What needs a device is skipped without one.
kvx_test(gpu_pages_test LABEL quick DEPS kvx_gpu_pages rapidcheck
  SOURCES gpu/page_table_test.cc gpu/pool_plan_test.cc)
