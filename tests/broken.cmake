# Deliberately broken kernels: each is the real source with one bug of broken/faults.json, linked into a program that runs
# `kvx check` over them and passes where the bug is caught. They run on a machine with a GPU; here it is checked that every
# fault still applies to the sources.
add_test(NAME broken.faults_apply
  COMMAND ${KVX_LINT} ${CMAKE_CURRENT_SOURCE_DIR}/broken/mutate.py ${PROJECT_SOURCE_DIR} --check)
set_tests_properties(broken.faults_apply PROPERTIES LABELS quick)

option(KVX_BROKEN "Build the deliberately broken kernels" OFF)
if(KVX_HAVE_CUDA AND KVX_BROKEN)
  set(mutate ${KVX_LINT} ${CMAKE_CURRENT_SOURCE_DIR}/broken/mutate.py ${PROJECT_SOURCE_DIR})
  execute_process(COMMAND ${mutate} --list OUTPUT_VARIABLE faults COMMAND_ERROR_IS_FATAL ANY)
  string(STRIP "${faults}" faults)
  string(REPLACE "\n" ";" faults "${faults}")
  foreach(fault IN LISTS faults)
    string(REPLACE "|" ";" fault "${fault};")
    list(GET fault 0 name)
    list(GET fault 1 unit)
    list(GET fault 2 cases)
    list(GET fault 3 level)
    list(GET fault 4 flags)
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/broken/${name})
    execute_process(COMMAND ${mutate} --make ${name} ${folder} COMMAND_ERROR_IS_FATAL ANY)
    # Where the fault is in the unit itself, its copy is compiled.
    if(EXISTS ${folder}/${unit})
      set(source ${folder}/${unit})
    else()
      set(source ${PROJECT_SOURCE_DIR}/${unit})
    endif()
    # The object comes before the library: the linker takes the scheme from it and leaves the sound one in the archive.
    add_executable(kvx_broken_${name} broken/main.cc ${source})
    target_include_directories(kvx_broken_${name} BEFORE PRIVATE ${folder})
    target_compile_definitions(kvx_broken_${name} PRIVATE KVX_FAULT="${name}" KVX_FAULT_CASES="${cases}"
      KVX_FAULT_LEVEL="${level}")
    if(flags)
      separate_arguments(flags)
      target_compile_options(kvx_broken_${name} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${flags}>")
    endif()
    target_link_libraries(kvx_broken_${name} PRIVATE kvx_check kvx_gpu)
    add_test(NAME broken.${name} COMMAND kvx_broken_${name} ${CMAKE_CURRENT_SOURCE_DIR}/inputs)
    set_tests_properties(broken.${name} PROPERTIES LABELS slow SKIP_RETURN_CODE 77)
  endforeach()
endif()
