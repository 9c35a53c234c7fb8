#ifndef MNEME_COPENBLAS_SHIM_H
#define MNEME_COPENBLAS_SHIM_H
#include <cblas.h>
#endif
