// Calls of the system that Swift's C library modules do not show.
#ifndef MNEME_CSTORAGE_H
#define MNEME_CSTORAGE_H

#include <stddef.h>
#include <stdint.h>

// Goes on with a CRC-32 of zlib's polynomial.
typedef uint32_t (*mneme_crc32)(uint32_t checksum, const void *bytes, size_t count);

// libdeflate's, which takes the processor's own instructions; NULL where the library is not installed.
mneme_crc32 mneme_fast_crc32(void);

// Lets two paths exchange their names in one step. Returns 0, or -1 with errno set: ENOSYS where the system cannot.
int mneme_exchange(const char *first, const char *second);

// Remembers that `count` bytes from `start` on are those of the file `path`. Returns a number for mneme_forget_mapping, or -1 where too many are remembered.
int mneme_remember_mapping(const void *start, unsigned long count, const char *path);
// Forgets a mapping; -1 is none.
void mneme_forget_mapping(int number);
// Lets the process end with `status` and one line of standard error, `mneme: error: PATH: ...`, when bytes of a remembered mapping are not there any more:
// the file was cut off, or its device has failed. Other bus errors are handled as before. Returns 0, or -1 with errno set.
int mneme_end_on_lost_mapping(int status);

#endif
