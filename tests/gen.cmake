# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(gen_test LABEL quick DEPS kvx_gen kvx_num SOURCES unit/gen_test.cc)
