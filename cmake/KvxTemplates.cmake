# kvx_templates(variable template...)
# A C++ source with the text of each template (its name without ".mustache") for eval/template.cc; configured anew when
# one changes. `variable` receives its path.
function(kvx_templates variable)
  set(KVX_TEMPLATES "")
  foreach(path IN LISTS ARGN)
    file(READ ${path} text)
    get_filename_component(name ${path} NAME_WLE)
    string(APPEND KVX_TEMPLATES "    {\"${name}\", R\"template(${text})template\"},\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  endforeach()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/templates.cc.in ${CMAKE_CURRENT_BINARY_DIR}/templates.cc @ONLY)
  set(${variable} ${CMAKE_CURRENT_BINARY_DIR}/templates.cc PARENT_SCOPE)
endfunction()
