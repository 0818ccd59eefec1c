# kvx_library(name [MERGED] DEPS a b SOURCES x.cc ... [SIMD y.cc ...])
# The dependency list is the architecture: a target sees only what is named here. SIMD files are compiled twice, for
# AVX2 and for AVX-512, with KVX_ISA naming the namespace; they use no inline functions or templates of the standard
# library, so that no AVX-512 copy of shared code can be linked into the rest. The sources of a MERGED library are compiled a
# few at a time where KVX_ONE_OFF asks for it: names in their anonymous namespaces must differ.
function(kvx_library name)
  cmake_parse_arguments(arg "MERGED" "" "DEPS;PRIVATE_DEPS;SOURCES;SIMD" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  if(KVX_ONE_OFF AND arg_MERGED)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON)
    # GCC tells names of the main source from those of headers, which the parts of a merged one look like.
    target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  endif()
  add_library(kvx::${name} ALIAS ${name})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  if(arg_SIMD)
    foreach(isa avx2 avx512)
      add_library(${name}_${isa} OBJECT ${arg_SIMD})
      target_include_directories(${name}_${isa} PRIVATE ${PROJECT_SOURCE_DIR})
      target_compile_definitions(${name}_${isa} PRIVATE KVX_ISA=${isa})
      if(isa STREQUAL avx512)
        # GCC 12 takes the undefined source operand inside its own intrinsics for a use of ours.
        target_compile_options(${name}_${isa} PRIVATE -march=x86-64-v4 -mprefer-vector-width=512
          $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
      endif()
      target_sources(${name} PRIVATE $<TARGET_OBJECTS:${name}_${isa}>)
    endforeach()
  endif()
endfunction()

# kvx_test(name LABEL quick|slow DEPS a b SOURCES x.cc ... [TIMEOUT s] [PROPERTIES ctest's, e.g. PROCESSORS 2 COST 10])
# One GoogleTest binary; every test is a ctest entry of its own, so that a skipped one is listed as skipped. Label
# `quick` is what runs before every commit; its sources do little work of their own and are compiled faster.
function(kvx_test name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "DEPS;SOURCES;PROPERTIES" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE kvx_test_main ${arg_DEPS})
  if(arg_LABEL STREQUAL quick)
    target_compile_options(${name} PRIVATE $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>)
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT} ${arg_PROPERTIES})
endfunction()
