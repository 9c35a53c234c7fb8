// MPI as Swift can see it: one inline function for each macro and each call in use, no logic.
// Handles travel inside structs, since they are pointers in Open MPI and integers in MPICH.
#ifndef MNEME_CMPI_SHIM_H
#define MNEME_CMPI_SHIM_H
#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { MPI_Comm handle; } mneme_mpi_comm;
typedef struct { MPI_Datatype handle; } mneme_mpi_datatype;
typedef struct { MPI_Op handle; } mneme_mpi_op;
typedef struct { MPI_Request handle; } mneme_mpi_request;

static inline mneme_mpi_comm mneme_mpi_comm_world(void) { return (mneme_mpi_comm){MPI_COMM_WORLD}; }
static inline mneme_mpi_comm mneme_mpi_comm_null(void) { return (mneme_mpi_comm){MPI_COMM_NULL}; }
static inline mneme_mpi_datatype mneme_mpi_byte(void) { return (mneme_mpi_datatype){MPI_BYTE}; }
static inline mneme_mpi_datatype mneme_mpi_float(void) { return (mneme_mpi_datatype){MPI_FLOAT}; }
static inline mneme_mpi_datatype mneme_mpi_double(void) { return (mneme_mpi_datatype){MPI_DOUBLE}; }
static inline mneme_mpi_datatype mneme_mpi_int64(void) { return (mneme_mpi_datatype){MPI_INT64_T}; }
static inline mneme_mpi_op mneme_mpi_sum(void) { return (mneme_mpi_op){MPI_SUM}; }
static inline mneme_mpi_op mneme_mpi_minimum(void) { return (mneme_mpi_op){MPI_MIN}; }
static inline mneme_mpi_op mneme_mpi_maximum(void) { return (mneme_mpi_op){MPI_MAX}; }
static inline mneme_mpi_request mneme_mpi_request_null(void) { return (mneme_mpi_request){MPI_REQUEST_NULL}; }

static inline int mneme_mpi_success(void) { return MPI_SUCCESS; }
static inline int mneme_mpi_thread_funneled(void) { return MPI_THREAD_FUNNELED; }
static inline int mneme_mpi_thread_serialized(void) { return MPI_THREAD_SERIALIZED; }
static inline int mneme_mpi_error_string_capacity(void) { return MPI_MAX_ERROR_STRING; }
static inline int mneme_mpi_processor_name_capacity(void) { return MPI_MAX_PROCESSOR_NAME; }
static inline int mneme_mpi_library_version_capacity(void) { return MPI_MAX_LIBRARY_VERSION_STRING; }

static inline int mneme_mpi_initialized(int *flag) { return MPI_Initialized(flag); }
static inline int mneme_mpi_init_thread(int required, int *provided) { return MPI_Init_thread(NULL, NULL, required, provided); }
static inline int mneme_mpi_finalize(void) { return MPI_Finalize(); }
static inline int mneme_mpi_abort(mneme_mpi_comm comm, int code) { return MPI_Abort(comm.handle, code); }
static inline int mneme_mpi_error_string(int code, char *text, int *length) { return MPI_Error_string(code, text, length); }
static inline int mneme_mpi_get_processor_name(char *text, int *length) { return MPI_Get_processor_name(text, length); }
static inline int mneme_mpi_get_library_version(char *text, int *length) { return MPI_Get_library_version(text, length); }

static inline int mneme_mpi_comm_return_errors(mneme_mpi_comm comm) { return MPI_Comm_set_errhandler(comm.handle, MPI_ERRORS_RETURN); }
static inline int mneme_mpi_comm_rank(mneme_mpi_comm comm, int *rank) { return MPI_Comm_rank(comm.handle, rank); }
static inline int mneme_mpi_comm_size(mneme_mpi_comm comm, int *size) { return MPI_Comm_size(comm.handle, size); }
static inline int mneme_mpi_comm_dup(mneme_mpi_comm comm, mneme_mpi_comm *copy) { return MPI_Comm_dup(comm.handle, &copy->handle); }
static inline int mneme_mpi_comm_free(mneme_mpi_comm *comm) { return MPI_Comm_free(&comm->handle); }
static inline int mneme_mpi_comm_split_by_node(mneme_mpi_comm comm, int key, mneme_mpi_comm *node) {
    return MPI_Comm_split_type(comm.handle, MPI_COMM_TYPE_SHARED, key, MPI_INFO_NULL, &node->handle);
}

static inline int mneme_mpi_barrier(mneme_mpi_comm comm) { return MPI_Barrier(comm.handle); }
static inline int mneme_mpi_all_reduce_in_place(void *values, int count, mneme_mpi_datatype type, mneme_mpi_op op, mneme_mpi_comm comm) {
    return MPI_Allreduce(MPI_IN_PLACE, values, count, type.handle, op.handle, comm.handle);
}
static inline int mneme_mpi_start_all_reduce_in_place(
    void *values, int count, mneme_mpi_datatype type, mneme_mpi_op op, mneme_mpi_comm comm, mneme_mpi_request *request) {
    return MPI_Iallreduce(MPI_IN_PLACE, values, count, type.handle, op.handle, comm.handle, &request->handle);
}
static inline int mneme_mpi_broadcast(void *bytes, int count, int root, mneme_mpi_comm comm) {
    return MPI_Bcast(bytes, count, MPI_BYTE, root, comm.handle);
}
static inline int mneme_mpi_all_gather_int64(int64_t value, int64_t *values, mneme_mpi_comm comm) {
    return MPI_Allgather(&value, 1, MPI_INT64_T, values, 1, MPI_INT64_T, comm.handle);
}
static inline int mneme_mpi_all_gather_bytes(
    const void *bytes, int count, void *all, const int *counts, const int *offsets, mneme_mpi_comm comm) {
    return MPI_Allgatherv(bytes, count, MPI_BYTE, all, counts, offsets, MPI_BYTE, comm.handle);
}
static inline int mneme_mpi_start_send(void *bytes, int count, int partner, int tag, mneme_mpi_comm comm, mneme_mpi_request *request) {
    return MPI_Isend(bytes, count, MPI_BYTE, partner, tag, comm.handle, &request->handle);
}
static inline int mneme_mpi_start_receive(void *bytes, int count, int partner, int tag, mneme_mpi_comm comm, mneme_mpi_request *request) {
    return MPI_Irecv(bytes, count, MPI_BYTE, partner, tag, comm.handle, &request->handle);
}
static inline int mneme_mpi_test_all(int count, mneme_mpi_request *requests, int *flag) {
    return MPI_Testall(count, &requests->handle, flag, MPI_STATUSES_IGNORE);
}
static inline int mneme_mpi_wait_all(int count, mneme_mpi_request *requests) {
    return MPI_Waitall(count, &requests->handle, MPI_STATUSES_IGNORE);
}
#endif
