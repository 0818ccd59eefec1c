# Tests of this area: kvx_test(...) and add_test(...) lines.
kvx_test(api_descriptor_test LABEL quick DEPS kvx_api rapidcheck SOURCES unit/api_descriptor_test.cc)
kvx_test(ref_schemes_test LABEL quick DEPS kvx_ref kvx_gen
  SOURCES unit/ref_fp_test.cc unit/ref_int_test.cc unit/ref_kivi_test.cc)
