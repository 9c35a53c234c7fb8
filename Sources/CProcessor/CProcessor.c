#if defined(__linux__)
#define _GNU_SOURCE
#include <sched.h>
#endif
#include "CProcessor.h"

#include <limits.h>
#include <sys/resource.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

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

uint32_t mneme_processor_flush_denormals(void) {
    const unsigned flushToZero = 0x8000, denormalsAreZero = 0x0040;
    const unsigned mode = _mm_getcsr(), wanted = mode | flushToZero | denormalsAreZero;
    if (mode != wanted) _mm_setcsr(wanted);
    return mode;
}

void mneme_processor_restore_mode(uint32_t mode) {
    const unsigned flushToZero = 0x8000, denormalsAreZero = 0x0040;
    // Flags of exceptions that have been raised meanwhile may stay.
    if ((mode & flushToZero) == 0 || (mode & denormalsAreZero) == 0) _mm_setcsr(mode);
}

void mneme_processor_pause(void) { _mm_pause(); }

#else

bool mneme_processor_supports_avx2(void) { return false; }
bool mneme_processor_supports_avx512(void) { return false; }
uint32_t mneme_processor_flush_denormals(void) { return 0; }
void mneme_processor_restore_mode(uint32_t mode) { (void)mode; }

#if defined(__aarch64__)
void mneme_processor_pause(void) { __asm__ volatile("isb" ::: "memory"); }
#else
void mneme_processor_pause(void) {}
#endif

#endif

static _Thread_local int32_t threadPart = -1;

int32_t mneme_thread_part(void) { return threadPart; }
void mneme_thread_set_part(int32_t part) { threadPart = part; }

#if defined(__linux__)

int mneme_thread_usable_processors(int *numbers, int capacity) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    int count = 0;
    for (int number = 0; number < CPU_SETSIZE; number += 1) {
        if (!CPU_ISSET(number, &set)) continue;
        if (count < capacity) numbers[count] = number;
        count += 1;
    }
    return count;
}

bool mneme_thread_pin(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

#else

int mneme_thread_usable_processors(int *numbers, int capacity) { return 0; }
bool mneme_thread_pin(int processor) { return false; }

#endif

void mneme_keep_freed_memory(void) {
#ifdef __GLIBC__
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
#endif
}

int64_t mneme_thread_page_faults(void) {
    struct rusage usage;
#ifdef RUSAGE_THREAD
    const int who = RUSAGE_THREAD;
#else
    const int who = RUSAGE_SELF;
#endif
    return getrusage(who, &usage) == 0 ? (int64_t)usage.ru_minflt + usage.ru_majflt : 0;
}
