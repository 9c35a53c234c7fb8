// The functions of a library with Open MPI's binary interface.

#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "CMPI.h"
#include "abi-openmpi.h"
#include "shim.h"

const char *mneme_mpi_fill_openmpi(mneme_mpi_calls *calls) { return fill(calls); }
