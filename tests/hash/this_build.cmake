# The program of this build prints the golden hashes, with either instruction set.
file(READ ${GOLDEN} golden)
foreach(isa "" avx2)
  execute_process(COMMAND ${PROGRAM} ${isa} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
  if(NOT output STREQUAL golden)
    message(FATAL_ERROR "hashes ${isa} differ from ${GOLDEN}:\n${output}")
  endif()
endforeach()
