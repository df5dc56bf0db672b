/* The header is C99 on its own: this file is compiled as such, with warnings as errors. */
#include "tessera/attention_plugin.h"

size_t BytesOfBackend(void);
size_t BytesOfBackend(void) { return sizeof(tessera_attention_backend); }
