# register(<family> <name>): compiles <name>.cc of this folder and lists it in <family>.inc.
# The list of calls is the registry; nothing registers itself at run time.
function(register family name)
  set_property(GLOBAL APPEND PROPERTY TESSERA_REGISTRY_${family} ${name})
  set_property(GLOBAL APPEND PROPERTY TESSERA_PLUGIN_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/${name}.cc)
endfunction()

function(tessera_write_registry family)
  get_property(names GLOBAL PROPERTY TESSERA_REGISTRY_${family})
  set(lines "")
  foreach(name IN LISTS names)
    string(APPEND lines "X(${name})\n")
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/${family}.inc CONTENT "${lines}" @ONLY)
endfunction()
