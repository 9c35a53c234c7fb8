// The binary interface that MPICH, Intel MPI, MVAPICH and HPE's MPI have agreed on: handles are integers.

#define ABI_NAME "MPICH"
typedef int abi_handle;
typedef struct { int count_low, count_high_and_cancelled, source, tag, error; } abi_status;

#define ABI_THREAD_FUNNELED 1
#define ABI_THREAD_SERIALIZED 2
#define ABI_MAX_ERROR_STRING 512
#define ABI_MAX_PROCESSOR_NAME 128
#define ABI_MAX_LIBRARY_VERSION_STRING 8192
#define ABI_COMM_TYPE_SHARED 1
#define ABI_IN_PLACE -1
#define ABI_ERR_IN_STATUS 17
#define ABI_ERR_PENDING 18

#define ABI_HANDLES(HANDLE)                                                                                                                \
    HANDLE(COMM_WORLD, 0x44000000) HANDLE(ERRORS_RETURN, 0x54000001) HANDLE(INFO_NULL, 0x1c000000) HANDLE(BYTE, 0x4c00010d)                \
    HANDLE(FLOAT, 0x4c00040a) HANDLE(DOUBLE, 0x4c00080b) HANDLE(INT64_T, 0x4c00083a) HANDLE(SUM, 0x58000003) HANDLE(MIN, 0x58000002)       \
    HANDLE(MAX, 0x58000001)
#define ABI_HANDLE_OF(value) (value)
