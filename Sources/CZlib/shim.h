#ifndef MNEME_CZLIB_SHIM_H
#define MNEME_CZLIB_SHIM_H
#include <zlib.h>
#endif
