# SPDX-License-Identifier: Apache-2.0
# llhttp::llhttp from libllhttp-dev where there is one (Debian 13), otherwise built from the C source
# that node-llhttp installs (Debian 12).
find_path(llhttp_INCLUDE_DIR llhttp.h PATH_SUFFIXES llhttp PATHS /usr/share/include)
find_library(llhttp_LIBRARY llhttp)
find_path(llhttp_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
if(llhttp_LIBRARY)
  find_package_handle_standard_args(llhttp DEFAULT_MSG llhttp_LIBRARY llhttp_INCLUDE_DIR)
else()
  find_package_handle_standard_args(llhttp DEFAULT_MSG llhttp_SOURCE_DIR llhttp_INCLUDE_DIR)
endif()

if(llhttp_FOUND AND NOT TARGET llhttp::llhttp)
  if(llhttp_LIBRARY)
    add_library(llhttp::llhttp UNKNOWN IMPORTED)
    set_target_properties(llhttp::llhttp PROPERTIES
      IMPORTED_LOCATION ${llhttp_LIBRARY}
      INTERFACE_INCLUDE_DIRECTORIES ${llhttp_INCLUDE_DIR})
  else()
    add_library(llhttp STATIC ${llhttp_SOURCE_DIR}/api.c ${llhttp_SOURCE_DIR}/http.c
                              ${llhttp_SOURCE_DIR}/llhttp.c)
    target_include_directories(llhttp SYSTEM PUBLIC ${llhttp_INCLUDE_DIR})
    # Not our code: neither our warnings nor a debug build's speed.
    target_compile_options(llhttp PRIVATE -w -O2)
    add_library(llhttp::llhttp ALIAS llhttp)
  endif()
endif()
