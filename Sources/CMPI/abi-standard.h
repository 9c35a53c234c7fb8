// The binary interface of the MPI standard, from its version 5 on (libmpi_abi): handles are small numbers in the place of pointers.

#define ABI_NAME "MPI-5"
typedef void *abi_handle;
typedef struct { int source, tag, error, internal[5]; } abi_status;

#define ABI_THREAD_FUNNELED 1024
#define ABI_THREAD_SERIALIZED 2048
#define ABI_MAX_ERROR_STRING 512
#define ABI_MAX_PROCESSOR_NAME 256
#define ABI_MAX_LIBRARY_VERSION_STRING 8192
#define ABI_COMM_TYPE_SHARED 221
#define ABI_IN_PLACE 1
#define ABI_ERR_IN_STATUS 19
#define ABI_ERR_PENDING 18

#define ABI_HANDLES(HANDLE)                                                                                                                \
    HANDLE(COMM_WORLD, 0x101) HANDLE(ERRORS_RETURN, 0x143) HANDLE(INFO_NULL, 0x130) HANDLE(BYTE, 0x247) HANDLE(FLOAT, 0x210)               \
    HANDLE(DOUBLE, 0x214) HANDLE(INT64_T, 0x258) HANDLE(SUM, 0x21) HANDLE(MIN, 0x22) HANDLE(MAX, 0x23)
#define ABI_HANDLE_OF(value) (value)
