// What Mneme uses of MPI, as a table of functions. The library is loaded while the program runs, and the table filled for the binary interface (ABI)
// that the library has: one program runs under any MPI library, and without one where no launcher starts it.

#ifndef MNEME_CMPI_H
#define MNEME_CMPI_H

#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/// A communicator, a type or an operation: a pointer in some libraries, an integer in others.
typedef intptr_t mneme_mpi_handle;

/// The functions and constants of the library. Functions return MPI's error codes, 0 for success.
///
/// `requests` is memory for as many requests as the caller has started, 8 bytes each; a function that starts one writes number `index` of them.
/// `statuses` is memory of 32 bytes for each request. Nobody but the library reads either.
typedef struct {
    /// Whose binary interface it is: "Open MPI", "MPICH" or "MPI-5".
    const char *abi;
    int thread_funneled, thread_serialized;
    /// Characters of the longest text of a kind, its final zero included.
    int error_string_capacity, processor_name_capacity, library_version_capacity;
    mneme_mpi_handle world;
    mneme_mpi_handle float_type, double_type, int64_type;
    mneme_mpi_handle sum, minimum, maximum;

    int (*initialized)(int *flag);
    int (*init_thread)(int required, int *provided);
    int (*finalize)(void);
    int (*abort)(mneme_mpi_handle comm, int code);
    int (*error_string)(int code, char *text, int *length);
    int (*get_processor_name)(char *text, int *length);
    int (*get_library_version)(char *text, int *length);

    /// Lets errors of a communicator, and of those made from it, come back as codes.
    int (*comm_return_errors)(mneme_mpi_handle comm);
    int (*comm_rank)(mneme_mpi_handle comm, int *rank);
    int (*comm_size)(mneme_mpi_handle comm, int *size);
    int (*comm_dup)(mneme_mpi_handle comm, mneme_mpi_handle *copy);
    int (*comm_free)(mneme_mpi_handle *comm);
    int (*comm_split_by_node)(mneme_mpi_handle comm, int key, mneme_mpi_handle *node);

    int (*barrier)(mneme_mpi_handle comm);
    int (*all_reduce_in_place)(void *values, int count, mneme_mpi_handle type, mneme_mpi_handle op, mneme_mpi_handle comm);
    int (*start_all_reduce_in_place)(
        void *values, int count, mneme_mpi_handle type, mneme_mpi_handle op, mneme_mpi_handle comm, void *requests, int index);
    int (*broadcast)(void *bytes, int count, int root, mneme_mpi_handle comm);
    int (*all_gather_int64)(int64_t value, int64_t *values, mneme_mpi_handle comm);
    int (*all_gather_bytes)(const void *bytes, int count, void *all, const int *counts, const int *offsets, mneme_mpi_handle comm);
    int (*start_send)(void *bytes, int count, int partner, int tag, mneme_mpi_handle comm, void *requests, int index);
    int (*start_receive)(void *bytes, int count, int partner, int tag, mneme_mpi_handle comm, void *requests, int index);
    /// Requests that are looked at together; an error of one of them comes back as itself, not as MPI_ERR_IN_STATUS.
    int (*test_all)(int count, void *requests, void *statuses, int *flag);
    /// One at a time: Open MPI 4.1's MPI_Waitall never comes back where a request of several had failed before the call.
    int (*wait_for)(void *requests, int index);
    /// Looks at one request, which stays as it is: whether it is over, and with which error. It does not see that the partner of one was lost.
    int (*look_at)(void *requests, int index, int *flag, int *error);

    /// What a library with ULFM adds (user level failure mitigation, an extension of the standard); all NULL where it has none. Calls of the other
    /// ranks in a communicator that is revoked end with an error; agreement and shrinking work in it still.
    int (*_Nullable comm_revoke)(mneme_mpi_handle comm);
    int (*_Nullable comm_is_revoked)(mneme_mpi_handle comm, int *flag);
    /// The bits that all living ranks have set, the same on each of them, as is the code: not 0 where a rank was lost.
    int (*_Nullable comm_agree)(mneme_mpi_handle comm, int *flag);
    int (*_Nullable comm_shrink)(mneme_mpi_handle comm, mneme_mpi_handle *living);
} mneme_mpi_calls;

/// Loads a library, by its path or by a name that the loader looks for; NULL on success, else why not, valid until the next call. One that is in the
/// process already, because it was preloaded, is taken instead. What is found is the state of this module: written by the first call that
/// succeeds, which must come before a second thread asks, and never again.
const char *_Nullable mneme_mpi_load(const char *file);

/// The functions of the loaded library; NULL before there is one.
const mneme_mpi_calls *_Nullable mneme_mpi_loaded(void);

/// The path of the loaded library.
const char *mneme_mpi_path(void);

#pragma clang assume_nonnull end

#endif
