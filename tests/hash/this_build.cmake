# The program of this build prints the golden hashes, with either instruction set.
# Lines of the model that only the folder KVX_DATA holds count where it is set.
file(READ ${GOLDEN} golden)
if("$ENV{KVX_DATA}" STREQUAL "")
  string(REGEX REPLACE "stories260K[^\n]*\n" "" golden "${golden}")
endif()
foreach(isa "" avx2)
  execute_process(COMMAND ${PROGRAM} ${isa} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
  if(NOT output STREQUAL golden)
    message(FATAL_ERROR "hashes ${isa} differ from ${GOLDEN}:\n${output}")
  endif()
endforeach()
