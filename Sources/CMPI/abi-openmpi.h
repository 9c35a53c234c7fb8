// The binary interface of Open MPI 4 and 5, and of what is made from them: handles are addresses of objects in the library.

#define ABI_NAME "Open MPI"
typedef void *abi_handle;
typedef struct { int source, tag, error, cancelled; size_t count; } abi_status;

#define ABI_THREAD_FUNNELED 1
#define ABI_THREAD_SERIALIZED 2
#define ABI_MAX_ERROR_STRING 256
#define ABI_MAX_PROCESSOR_NAME 256
#define ABI_MAX_LIBRARY_VERSION_STRING 256
#define ABI_COMM_TYPE_SHARED 0
#define ABI_IN_PLACE 1
#define ABI_ERR_IN_STATUS 18
#define ABI_ERR_PENDING 19

#define ABI_HANDLES(HANDLE)                                                                                                                \
    HANDLE(COMM_WORLD, "ompi_mpi_comm_world") HANDLE(ERRORS_RETURN, "ompi_mpi_errors_return") HANDLE(INFO_NULL, "ompi_mpi_info_null")      \
    HANDLE(BYTE, "ompi_mpi_byte") HANDLE(FLOAT, "ompi_mpi_float") HANDLE(DOUBLE, "ompi_mpi_double") HANDLE(INT64_T, "ompi_mpi_int64_t")    \
    HANDLE(SUM, "ompi_mpi_op_sum") HANDLE(MIN, "ompi_mpi_op_min") HANDLE(MAX, "ompi_mpi_op_max")
#define ABI_HANDLE_OF(name) (intptr_t)dlsym(RTLD_DEFAULT, name)
