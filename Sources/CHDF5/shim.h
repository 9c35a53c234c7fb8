// Accessors for what HDF5 defines as macros, which Swift cannot import. One line each, no logic.
#ifndef MNEME_CHDF5_SHIM_H
#define MNEME_CHDF5_SHIM_H
#include <hdf5.h>

static inline hid_t mneme_h5t_native_float(void) { return H5T_NATIVE_FLOAT; }
#endif
