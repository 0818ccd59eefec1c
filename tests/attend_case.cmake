# One attention of the kernels and what it must give, for tests and benchmarks; its decoders are many kernels, compiled once.
include_guard(GLOBAL)
add_library(kvx_attend_case STATIC EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/gpu/attend_case.cc ${CMAKE_CURRENT_LIST_DIR}/gpu/attend_codecs.cu)
target_link_libraries(kvx_attend_case PUBLIC kvx_gpu kvx_num kvx_gen)
