# Tests of the CUDA side; each is skipped where there is no device.
if(KVX_HAVE_CUDA)
  kvx_test(gpu_attend_test LABEL quick DEPS kvx_gpu kvx_num kvx_gen
    SOURCES gpu/attend_test.cc gpu/attend_case.cc gpu/attend_codecs.cu)
endif()
