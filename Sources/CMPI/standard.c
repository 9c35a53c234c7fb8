// The functions of a library with the standard's binary interface.

#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "CMPI.h"
#include "abi-standard.h"
#include "shim.h"

#include <string.h>

const char *mneme_mpi_fill_standard(mneme_mpi_calls *calls) {
    const char *missing = fill(calls);
    char text[ABI_MAX_LIBRARY_VERSION_STRING];
    int length;
    // Intel MPI 2021.19 has the number that a draft of the standard gave it.
    if (!missing && mpi.Get_library_version(text, &length) == 0 && strstr(text, "Intel")) mpi.ERRORS_RETURN = (abi_handle)0x142;
    return missing;
}
