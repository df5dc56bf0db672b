# A source file's suffix names its instruction set; nothing else may use those instructions.
set(TESSERA_FLAGS_avx2 -mavx2;-mfma;-mf16c)
set(TESSERA_FLAGS_avx512 ${TESSERA_FLAGS_avx2};-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mprefer-vector-width=512)
set(TESSERA_FLAGS_avx512_bf16 ${TESSERA_FLAGS_avx512};-mavx512bf16;-mavx512vnni)

# g++ 12's own AVX-512 headers trip these two at -O2.
set(TESSERA_ISA_WARNINGS -Wno-uninitialized;-Wno-maybe-uninitialized)

function(tessera_set_isa_flags)
  foreach(source IN LISTS ARGN)
    foreach(isa avx512_bf16 avx512 avx2)
      if(source MATCHES "_${isa}\\.cc$")
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
          "${TESSERA_FLAGS_${isa}};${TESSERA_ISA_WARNINGS};-O3;-ffp-contract=fast")
        break()
      endif()
    endforeach()
    if(source MATCHES "_scalar\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-O3;${TESSERA_ISA_WARNINGS}")
    elseif(source MATCHES "reference\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-fno-tree-vectorize")
    endif()
  endforeach()
endfunction()
