// Loads an MPI library and has the table filled for its binary interface.

#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "CMPI.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *mneme_mpi_fill_openmpi(mneme_mpi_calls *calls);
const char *mneme_mpi_fill_mpich(mneme_mpi_calls *calls);
const char *mneme_mpi_fill_standard(mneme_mpi_calls *calls);

static mneme_mpi_calls calls;
static int isLoaded;
static char path[PATH_MAX];

const mneme_mpi_calls *mneme_mpi_loaded(void) { return isLoaded ? &calls : NULL; }
const char *mneme_mpi_path(void) { return path; }

const char *mneme_mpi_load(const char *file) {
    static char reason[PATH_MAX + 256];
    if (isLoaded) return NULL;
    // Tools that watch MPI calls define them and go on to the PMPI names, which are the library's own.
    const char *own = "PMPI_Init_thread";
    // The parts that libraries load in turn look for the library's names in the process.
    if (!dlsym(RTLD_DEFAULT, own) && !dlopen(file, RTLD_NOW | RTLD_GLOBAL)) {
        const char *text = dlerror();
        snprintf(reason, sizeof reason, "%s", text ? text : "it cannot be loaded");
        return reason;
    }
    Dl_info place;
    void *function = dlsym(RTLD_DEFAULT, own);
    if (!function || !dladdr(function, &place)) {
        snprintf(reason, sizeof reason, "%s is no MPI library: it has no %s", file, own);
        return reason;
    }
    if (!realpath(place.dli_fname, path)) snprintf(path, sizeof path, "%s", place.dli_fname);
    const char *name = strrchr(path, '/');
    const char *missing = strstr(name ? name : path, "libmpi_abi.") ? mneme_mpi_fill_standard(&calls)
        : dlsym(RTLD_DEFAULT, "ompi_mpi_comm_world")               ? mneme_mpi_fill_openmpi(&calls)
                                                                    : mneme_mpi_fill_mpich(&calls);
    if (missing) {
        snprintf(reason, sizeof reason, "%s lacks %s", path, missing);
        return reason;
    }
    isLoaded = 1;
    return NULL;
}
