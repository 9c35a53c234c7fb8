#include "CProcessor.h"

#if defined(__x86_64__)

#include <immintrin.h>

bool mneme_processor_supports_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

bool mneme_processor_supports_avx512(void) {
    return mneme_processor_supports_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

void mneme_processor_flush_denormals(void) {
    const unsigned flushToZero = 0x8000, denormalsAreZero = 0x0040;
    _mm_setcsr(_mm_getcsr() | flushToZero | denormalsAreZero);
}

#else

bool mneme_processor_supports_avx2(void) { return false; }
bool mneme_processor_supports_avx512(void) { return false; }
void mneme_processor_flush_denormals(void) {}

#endif
