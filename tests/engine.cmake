kvx_test(gemm_test LABEL quick DEPS kvx_num SOURCES unit/gemm_test.cc)
kvx_test(attention_tile_test LABEL quick DEPS kvx_num SOURCES unit/attention_tile_test.cc)
