# Tests of the CUDA side; each that needs a device is skipped where there is none.
if(KVX_HAVE_CUDA)
  kvx_test(gpu_scheme_host_test LABEL quick DEPS kvx_gpu kvx_ref kvx_gen SOURCES gpu/scheme_host_test.cc)
  kvx_test(gpu_scheme_kernels_test LABEL quick DEPS kvx_gpu kvx_ref kvx_gen SOURCES gpu/scheme_kernels_test.cc)
endif()
