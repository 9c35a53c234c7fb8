// Accessors for what MPI defines as macros, which Swift cannot import. One line each, no logic.
#ifndef MNEME_CMPI_SHIM_H
#define MNEME_CMPI_SHIM_H
#include <mpi.h>

static inline MPI_Comm mneme_mpi_comm_world(void) { return MPI_COMM_WORLD; }
#endif
