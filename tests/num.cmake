# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(num_values_test LABEL quick DEPS kvx_num SOURCES unit/num_values_test.cc)
