// One function for each call in use, no logic: handles are turned into those of the binary interface that was included before, and the library's
// function is called. It is found in the process, so that a tool which was preloaded to watch MPI calls sees them.

#include <dlfcn.h>

#define FUNCTIONS(F)                                                                                                                         \
    F(Initialized, int *) F(Init_thread, int *, char ***, int, int *) F(Finalize, void) F(Abort, abi_handle, int)                            \
    F(Error_string, int, char *, int *) F(Get_processor_name, char *, int *) F(Get_library_version, char *, int *)                           \
    F(Comm_set_errhandler, abi_handle, abi_handle) F(Comm_rank, abi_handle, int *) F(Comm_size, abi_handle, int *)                           \
    F(Comm_dup, abi_handle, abi_handle *) F(Comm_free, abi_handle *)                                                                         \
    F(Comm_split_type, abi_handle, int, int, abi_handle, abi_handle *) F(Barrier, abi_handle)                                                \
    F(Allreduce, const void *, void *, int, abi_handle, abi_handle, abi_handle)                                                              \
    F(Iallreduce, const void *, void *, int, abi_handle, abi_handle, abi_handle, abi_handle *)                                               \
    F(Bcast, void *, int, abi_handle, int, abi_handle)                                                                                       \
    F(Allgather, const void *, int, abi_handle, void *, int, abi_handle, abi_handle)                                                         \
    F(Allgatherv, const void *, int, abi_handle, void *, const int *, const int *, abi_handle, abi_handle)                                   \
    F(Isend, const void *, int, abi_handle, int, int, abi_handle, abi_handle *)                                                              \
    F(Irecv, void *, int, abi_handle, int, int, abi_handle, abi_handle *) F(Testall, int, abi_handle *, int *, abi_status *)                 \
    F(Wait, abi_handle *, abi_status *) F(Request_get_status, abi_handle, int *, abi_status *)

#define EXTENSIONS(F) F(Comm_revoke, abi_handle) F(Comm_is_revoked, abi_handle, int *) F(Comm_agree, abi_handle, int *) F(Comm_shrink, abi_handle, abi_handle *)

/// The library's functions, and the objects that its handles name.
static struct {
#define DECLARE(name, ...) int (*name)(__VA_ARGS__);
    FUNCTIONS(DECLARE)
    EXTENSIONS(DECLARE)
#undef DECLARE
#define DECLARE(name, value) abi_handle name;
    ABI_HANDLES(DECLARE)
#undef DECLARE
} mpi;

_Static_assert(sizeof(abi_handle) <= 8 && sizeof(abi_status) <= 32, "requests and statuses have the room that CMPI.h promises");

static int initialized(int *flag) { return mpi.Initialized(flag); }
static int init_thread(int required, int *provided) { return mpi.Init_thread(NULL, NULL, required, provided); }
static int finalize(void) { return mpi.Finalize(); }
static int abort_all(intptr_t comm, int code) { return mpi.Abort((abi_handle)comm, code); }
static int error_string(int code, char *text, int *length) { return mpi.Error_string(code, text, length); }
static int get_processor_name(char *text, int *length) { return mpi.Get_processor_name(text, length); }
static int get_library_version(char *text, int *length) { return mpi.Get_library_version(text, length); }

static int comm_return_errors(intptr_t comm) { return mpi.Comm_set_errhandler((abi_handle)comm, mpi.ERRORS_RETURN); }
static int comm_rank(intptr_t comm, int *rank) { return mpi.Comm_rank((abi_handle)comm, rank); }
static int comm_size(intptr_t comm, int *size) { return mpi.Comm_size((abi_handle)comm, size); }
static int comm_dup(intptr_t comm, intptr_t *copy) {
    abi_handle handle;
    int code = mpi.Comm_dup((abi_handle)comm, &handle);
    if (!code) *copy = (intptr_t)handle;
    return code;
}
static int comm_free(intptr_t *comm) {
    abi_handle handle = (abi_handle)*comm;
    int code = mpi.Comm_free(&handle);
    *comm = (intptr_t)handle;
    return code;
}
static int comm_split_by_node(intptr_t comm, int key, intptr_t *node) {
    abi_handle handle;
    int code = mpi.Comm_split_type((abi_handle)comm, ABI_COMM_TYPE_SHARED, key, mpi.INFO_NULL, &handle);
    if (!code) *node = (intptr_t)handle;
    return code;
}

static int barrier(intptr_t comm) { return mpi.Barrier((abi_handle)comm); }
static int all_reduce_in_place(void *values, int count, intptr_t type, intptr_t op, intptr_t comm) {
    return mpi.Allreduce((void *)ABI_IN_PLACE, values, count, (abi_handle)type, (abi_handle)op, (abi_handle)comm);
}
static int start_all_reduce_in_place(void *values, int count, intptr_t type, intptr_t op, intptr_t comm, void *requests, int index) {
    return mpi.Iallreduce(
        (void *)ABI_IN_PLACE, values, count, (abi_handle)type, (abi_handle)op, (abi_handle)comm, (abi_handle *)requests + index);
}
static int broadcast(void *bytes, int count, int root, intptr_t comm) { return mpi.Bcast(bytes, count, mpi.BYTE, root, (abi_handle)comm); }
static int all_gather_int64(int64_t value, int64_t *values, intptr_t comm) {
    return mpi.Allgather(&value, 1, mpi.INT64_T, values, 1, mpi.INT64_T, (abi_handle)comm);
}
static int all_gather_bytes(const void *bytes, int count, void *all, const int *counts, const int *offsets, intptr_t comm) {
    return mpi.Allgatherv(bytes, count, mpi.BYTE, all, counts, offsets, mpi.BYTE, (abi_handle)comm);
}
static int start_send(void *bytes, int count, int partner, int tag, intptr_t comm, void *requests, int index) {
    return mpi.Isend(bytes, count, mpi.BYTE, partner, tag, (abi_handle)comm, (abi_handle *)requests + index);
}
static int start_receive(void *bytes, int count, int partner, int tag, intptr_t comm, void *requests, int index) {
    return mpi.Irecv(bytes, count, mpi.BYTE, partner, tag, (abi_handle)comm, (abi_handle *)requests + index);
}
static int error_of(int code, const abi_status *statuses, int count) {
    if (code != ABI_ERR_IN_STATUS) return code;
    for (int i = 0; i < count; i++) {
        if (statuses[i].error != 0 && statuses[i].error != ABI_ERR_PENDING) return statuses[i].error;
    }
    return code;
}
static int test_all(int count, void *requests, void *statuses, int *flag) {
    return error_of(mpi.Testall(count, requests, flag, statuses), statuses, count);
}
static int wait_for(void *requests, int index) {
    abi_status status;
    return mpi.Wait((abi_handle *)requests + index, &status);
}

static int look_at(void *requests, int index, int *flag, int *error) {
    abi_status status = {0};
    int code = mpi.Request_get_status(((abi_handle *)requests)[index], flag, &status);
    *error = *flag ? status.error : 0;
    return code;
}

static int comm_revoke(intptr_t comm) { return mpi.Comm_revoke((abi_handle)comm); }
static int comm_is_revoked(intptr_t comm, int *flag) { return mpi.Comm_is_revoked((abi_handle)comm, flag); }
static int comm_agree(intptr_t comm, int *flag) { return mpi.Comm_agree((abi_handle)comm, flag); }
static int comm_shrink(intptr_t comm, intptr_t *living) {
    abi_handle handle;
    int code = mpi.Comm_shrink((abi_handle)comm, &handle);
    if (!code) *living = (intptr_t)handle;
    return code;
}

/// Finds the library's functions; NULL on success, else the name of what it lacks.
static const char *fill(mneme_mpi_calls *calls) {
#define FIND(name, ...) if (!(mpi.name = (__typeof__(mpi.name))dlsym(RTLD_DEFAULT, "MPI_" #name))) return "MPI_" #name;
    FUNCTIONS(FIND)
#undef FIND
#define FIND(name, value) if (!(mpi.name = (abi_handle)ABI_HANDLE_OF(value))) return "MPI_" #name;
    ABI_HANDLES(FIND)
#undef FIND
    int hasExtensions = 1;
#define FIND(name, ...) if (!(mpi.name = (__typeof__(mpi.name))dlsym(RTLD_DEFAULT, "MPIX_" #name))) hasExtensions = 0;
    EXTENSIONS(FIND)
#undef FIND
    *calls = (mneme_mpi_calls){
        ABI_NAME, ABI_THREAD_FUNNELED, ABI_THREAD_SERIALIZED, ABI_MAX_ERROR_STRING, ABI_MAX_PROCESSOR_NAME, ABI_MAX_LIBRARY_VERSION_STRING,
        (intptr_t)mpi.COMM_WORLD, (intptr_t)mpi.FLOAT, (intptr_t)mpi.DOUBLE, (intptr_t)mpi.INT64_T, (intptr_t)mpi.SUM, (intptr_t)mpi.MIN, (intptr_t)mpi.MAX,
        initialized, init_thread, finalize, abort_all, error_string, get_processor_name, get_library_version, comm_return_errors, comm_rank, comm_size,
        comm_dup, comm_free, comm_split_by_node, barrier, all_reduce_in_place, start_all_reduce_in_place, broadcast, all_gather_int64,
        all_gather_bytes, start_send, start_receive, test_all, wait_for, look_at,
        hasExtensions ? comm_revoke : NULL, hasExtensions ? comm_is_revoked : NULL, hasExtensions ? comm_agree : NULL, hasExtensions ? comm_shrink : NULL,
    };
    return NULL;
}
