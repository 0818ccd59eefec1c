# The arithmetics of attention beside binary64, for tests and bench_attention_error.
include_guard(GLOBAL)
add_library(kvx_attention_error STATIC ${CMAKE_CURRENT_LIST_DIR}/support/attention_error.cc)
target_link_libraries(kvx_attention_error PUBLIC kvx_ref kvx_num)
