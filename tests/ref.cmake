# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(api_descriptor_test LABEL quick DEPS kvx_api rapidcheck SOURCES unit/api_descriptor_test.cc)
