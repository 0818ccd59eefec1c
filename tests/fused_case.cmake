# One fused attention of the kernels and what it must give, for tests and benchmarks.
include_guard(GLOBAL)
add_library(kvx_fused_case STATIC EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/gpu/fused_case.cc)
target_link_libraries(kvx_fused_case PUBLIC kvx_gpu kvx_num kvx_gen)
