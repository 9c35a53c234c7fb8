// Matrix products of oneDNN, which is loaded while the program runs: a machine without it still runs Mneme.
// Written against API versions 2 and 3; without the header at build time nothing is available.

#ifndef MNEME_CONEDNN_H
#define MNEME_CONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// C = alpha * op(A) op(B) + bias + beta * C, row-major: M x N of M x K and K x N. `leading` counts elements between rows as stored.
/// A bias wants alpha = 1. beta = 0 means that C is not read.
typedef struct {
    int64_t m, n, k;
    int64_t leadingA, leadingB, leadingC;
    float alpha, beta;
    bool isATransposed, isBTransposed;
    /// bfloat16 rather than float32: A and B; C. The bias is float32.
    bool operandsAreBFloat16, resultIsBFloat16;
    bool hasBias;
    /// B is in an order that the library chose: `mneme_onednn_pack` brings it there.
    bool isBPacked;
} MnemeOneDNNProduct;

/// The API version of the header that this was compiled with; 0 when there was none.
int mneme_onednn_api(void);

/// The file name of the library that is loaded, such as "libdnnl.so.2".
const char *mneme_onednn_library(void);

/// Loads the library and prepares it; NULL on success, else why not. To be called once, before any other thread computes. What it finds, the
/// library's functions and its engine for this processor, is the state of this module: written here and never again.
/// The environment is left as it is: OpenMP would take as many threads as OMP_NUM_THREADS says, and each thread takes that back for itself
/// (`mneme_onednn_enter_thread`).
const char *mneme_onednn_open(void);

/// Makes sure that calls of this thread run on this thread alone. To be called once on every thread that uses the functions below.
void mneme_onednn_enter_thread(void);

/// The version of the loaded library: 2.6.3 is 20603.
int mneme_onednn_version(void);

/// The instruction set that the loaded library uses, such as "avx512_core_bf16".
const char *mneme_onednn_instruction_set(void);

/// Whether the processor multiplies bfloat16 by instructions of its own.
bool mneme_onednn_has_native_bfloat16(void);

/// Compiles a product for the calling thread; NULL when the library has only its reference code for it, or fails.
/// `scratchBytes` is set to the scratch memory that each execution needs.
void *mneme_onednn_create(const MnemeOneDNNProduct *product, size_t *scratchBytes);

/// Runs a product on the thread that created it. False when the library reports an error.
bool mneme_onednn_execute(void *product, const void *a, const void *b, const float *bias, void *c, void *scratch);

void mneme_onednn_destroy(void *product);

/// Bytes of B in the order of a product with `isBPacked`.
size_t mneme_onednn_packed_bytes(void *product);

/// Brings B, as `leadingB` and `isBTransposed` describe it, into the order of a product with `isBPacked`.
bool mneme_onednn_pack(void *product, const void *b, void *packed);

/// Whether two products with `isBPacked` read the same order of B.
bool mneme_onednn_packs_alike(void *first, void *second);

#endif
