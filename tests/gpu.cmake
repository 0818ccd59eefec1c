# Tests of the CUDA side; each is skipped where there is no device.
kvx_test(eval_cuda LABEL quick DEPS kvx_eval kvx_tiny_model SOURCES gpu/eval_cuda_test.cc)
