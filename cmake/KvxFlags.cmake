# The flags that decide bits are set here, once, for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g")

# x86-64 with AVX2 and FMA is required (std::fma without the instruction is correct but too slow to use);
# AVX-512 kernels are separate objects, chosen at run time.
set(KVX_ISA_BASE "-march=x86-64-v3" CACHE STRING "Instruction set of everything but the AVX-512 kernels")
separate_arguments(KVX_ISA_BASE_LIST UNIX_COMMAND "${KVX_ISA_BASE}")
add_compile_options(
  "$<$<COMPILE_LANGUAGE:CXX>:${KVX_ISA_BASE_LIST};-ffp-contract=off;-fno-math-errno>"
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wdouble-promotion;-Wnon-virtual-dtor>"
  # GCC 12 warns of its own std::string and of fmt's buffers here, without a defect behind it.
  "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict;-Wno-stringop-overflow>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false>"
  # Lines for the profiler cost a fifth of the time that kernels take to compile: where programs are built for another machine's GPU.
  "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${KVX_STATIC}>>:-lineinfo>")
if(KVX_WERROR)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Werror>")
endif()
if(KVX_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${KVX_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  add_link_options("-fsanitize=${KVX_SANITIZE}")
endif()
if(KVX_FUZZ)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>")
endif()
