// Accessors for what HDF5 defines as macros, which Swift cannot import. One line each, no logic.
#ifndef MNEME_CHDF5_SHIM_H
#define MNEME_CHDF5_SHIM_H
#include <hdf5.h>

// Types in memory.
static inline hid_t mneme_h5t_native_float(void) { return H5T_NATIVE_FLOAT; }
static inline hid_t mneme_h5t_native_double(void) { return H5T_NATIVE_DOUBLE; }
static inline hid_t mneme_h5t_native_uint8(void) { return H5T_NATIVE_UINT8; }
static inline hid_t mneme_h5t_native_uint16(void) { return H5T_NATIVE_UINT16; }
static inline hid_t mneme_h5t_native_uint32(void) { return H5T_NATIVE_UINT32; }
static inline hid_t mneme_h5t_native_uint64(void) { return H5T_NATIVE_UINT64; }
static inline hid_t mneme_h5t_native_int32(void) { return H5T_NATIVE_INT32; }
static inline hid_t mneme_h5t_native_int64(void) { return H5T_NATIVE_INT64; }
static inline hid_t mneme_h5t_c_s1(void) { return H5T_C_S1; }

// Types in the file: little-endian, whatever the machine.
static inline hid_t mneme_h5t_ieee_f32le(void) { return H5T_IEEE_F32LE; }
static inline hid_t mneme_h5t_ieee_f64le(void) { return H5T_IEEE_F64LE; }
static inline hid_t mneme_h5t_std_u8le(void) { return H5T_STD_U8LE; }
static inline hid_t mneme_h5t_std_u16le(void) { return H5T_STD_U16LE; }
static inline hid_t mneme_h5t_std_u32le(void) { return H5T_STD_U32LE; }
static inline hid_t mneme_h5t_std_u64le(void) { return H5T_STD_U64LE; }
static inline hid_t mneme_h5t_std_i32le(void) { return H5T_STD_I32LE; }
static inline hid_t mneme_h5t_std_i64le(void) { return H5T_STD_I64LE; }
static inline size_t mneme_h5t_variable(void) { return H5T_VARIABLE; }

// Classes of property lists, and defaults.
static inline hid_t mneme_h5p_default(void) { return H5P_DEFAULT; }
static inline hid_t mneme_h5p_file_create(void) { return H5P_FILE_CREATE; }
static inline hid_t mneme_h5p_file_access(void) { return H5P_FILE_ACCESS; }
static inline hid_t mneme_h5p_group_create(void) { return H5P_GROUP_CREATE; }
static inline hid_t mneme_h5p_dataset_create(void) { return H5P_DATASET_CREATE; }
static inline hid_t mneme_h5p_link_create(void) { return H5P_LINK_CREATE; }
static inline hid_t mneme_h5s_all(void) { return H5S_ALL; }
static inline hid_t mneme_h5e_default(void) { return H5E_DEFAULT; }

// Numbers.
static inline unsigned mneme_h5f_acc_rdonly(void) { return H5F_ACC_RDONLY; }
static inline unsigned mneme_h5f_acc_rdwr(void) { return H5F_ACC_RDWR; }
static inline unsigned mneme_h5f_acc_trunc(void) { return H5F_ACC_TRUNC; }
static inline unsigned mneme_h5f_acc_excl(void) { return H5F_ACC_EXCL; }
static inline unsigned mneme_h5f_obj_all(void) { return H5F_OBJ_ALL; }
static inline hid_t mneme_h5f_every_file(void) { return (hid_t)H5F_OBJ_ALL; }
static inline hsize_t mneme_h5s_unlimited(void) { return H5S_UNLIMITED; }
static inline H5F_libver_t mneme_h5f_libver_latest(void) { return H5F_LIBVER_LATEST; }
static inline haddr_t mneme_haddr_undefined(void) { return HADDR_UNDEF; }

// The C library's, which its headers hide from plain C: a file in memory.
int memfd_create(const char *name, unsigned int flags);

// Present since 1.10.7; an older library locks files as its environment says.
#if H5_VERSION_GE(1, 10, 7)
static inline herr_t mneme_h5p_unlock_files(hid_t access) { return H5Pset_file_locking(access, 0, 1); }
#else
static inline herr_t mneme_h5p_unlock_files(hid_t access) { (void)access; return 0; }
#endif
#endif
