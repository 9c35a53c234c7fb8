// The functions of a library with MPICH's binary interface.

#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "CMPI.h"
#include "abi-mpich.h"
#include "shim.h"

const char *mneme_mpi_fill_mpich(mneme_mpi_calls *calls) { return fill(calls); }
