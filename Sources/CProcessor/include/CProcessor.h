// What the processor can do, and its floating-point mode: two things Swift has no words for.

#ifndef MNEME_CPROCESSOR_H
#define MNEME_CPROCESSOR_H

#include <stdbool.h>

/// True when processor and operating system support x86-64-v3: AVX2 and FMA.
bool mneme_processor_supports_avx2(void);

/// True when processor and operating system support x86-64-v4: AVX-512 F, BW, CD, DQ and VL.
bool mneme_processor_supports_avx512(void);

/// Flushes denormal results to zero and reads denormal operands as zero, in the calling thread. Nothing on processors other than x86-64.
void mneme_processor_flush_denormals(void);

#endif
