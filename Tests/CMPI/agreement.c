// Compares what Sources/CMPI knows of a binary interface with a library's own header:
//     cc -DHEADER='<mpi.h>' -DABI='"abi-mpich.h"' -I PREFIX/include -I Sources/CMPI Tests/CMPI/agreement.c -Wl,--unresolved-symbols=ignore-all
// Prints what differs; the exit code is the number of differences.

#include HEADER
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include ABI

static int differences;
static void compare(const char *name, long long known, long long found) {
    if (known == found) return;
    printf("%s is %lld, and Mneme takes it for %lld\n", name, found, known);
    differences += 1;
}
#define COMPARE(name) compare("MPI_" #name, (long long)ABI_##name, (long long)(intptr_t)MPI_##name);

int main(void) {
    COMPARE(THREAD_FUNNELED) COMPARE(THREAD_SERIALIZED) COMPARE(MAX_ERROR_STRING) COMPARE(MAX_PROCESSOR_NAME) COMPARE(MAX_LIBRARY_VERSION_STRING)
    COMPARE(COMM_TYPE_SHARED) COMPARE(IN_PLACE) COMPARE(ERR_IN_STATUS) COMPARE(ERR_PENDING)
    compare("MPI_SUCCESS", 0, MPI_SUCCESS);
    compare("sizeof(MPI_Comm)", sizeof(abi_handle), sizeof(MPI_Comm));
    compare("sizeof(MPI_Request)", sizeof(abi_handle), sizeof(MPI_Request));
    compare("sizeof(MPI_Status)", sizeof(abi_status), sizeof(MPI_Status));
    compare("MPI_Status.MPI_ERROR", offsetof(abi_status, error), offsetof(MPI_Status, MPI_ERROR));
#ifndef OPEN_MPI
    // Open MPI's handles have names in the place of values: they are looked up when it is loaded.
#define HANDLE(name, value) compare("MPI_" #name, value, (long long)(intptr_t)MPI_##name);
    ABI_HANDLES(HANDLE)
#endif
    return differences;
}
