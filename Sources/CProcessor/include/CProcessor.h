// What the processor can do, its floating-point mode, where a thread runs, and what it asks of the system: things that Swift has no words for.

#ifndef MNEME_CPROCESSOR_H
#define MNEME_CPROCESSOR_H

#include <stdbool.h>
#include <stdint.h>

/// True when processor and operating system support x86-64-v3: AVX2 and FMA.
bool mneme_processor_supports_avx2(void);

/// True when processor and operating system support x86-64-v4: AVX-512 F, BW, CD, DQ and VL.
bool mneme_processor_supports_avx512(void);

/// Flushes denormal results to zero and reads denormal operands as zero, in the calling thread; returns the mode before. Nothing on processors other
/// than x86-64.
uint32_t mneme_processor_flush_denormals(void);

/// Sets the floating-point mode of the calling thread back to what `mneme_processor_flush_denormals` returned.
void mneme_processor_restore_mode(uint32_t mode);

/// Tells the processor that the calling thread waits in a loop.
void mneme_processor_pause(void);

/// The number that `mneme_thread_set_part` gave the calling thread; -1 when it never did.
int32_t mneme_thread_part(void);
void mneme_thread_set_part(int32_t part);

/// Writes the numbers of the processors that the calling thread may run on, at most `capacity`, in rising order; returns how many there are.
/// 0 where the system does not tell.
int mneme_thread_usable_processors(int *numbers, int capacity);

/// Keeps the calling thread on one processor. False where that cannot be done.
bool mneme_thread_pin(int processor);

/// Makes the C library keep freed memory for its next use: it never gives the end of the heap back, and takes blocks of up to 32 MiB from the heap.
/// Nothing where the C library is not glibc.
void mneme_keep_freed_memory(void);

/// Page faults of the calling thread so far; of the whole process where the system does not tell them apart.
int64_t mneme_thread_page_faults(void);

#endif
