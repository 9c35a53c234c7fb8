// Streams of bzip2, xz and zstd, and encodings of text, as the system's libraries read them. The libraries of compression are loaded while the
// program runs: a machine without one of them still runs Mneme. Without its header at build time a compression is not available.

#ifndef MNEME_CINPUTS_H
#define MNEME_CINPUTS_H

#include <stddef.h>
#include <stdint.h>

typedef enum { MNEME_BZIP2, MNEME_XZ, MNEME_ZSTD } MnemeCompression;

typedef enum {
    /// More input or more room is wanted.
    MNEME_DECODING_GOES_ON,
    /// The compressed stream is at its end; others may follow it.
    MNEME_DECODING_ENDS,
    MNEME_DECODING_DAMAGED,
    MNEME_DECODING_NO_MEMORY,
} MnemeDecoding;

/// Starts to decode a stream; NULL where the library cannot be loaded or has no memory.
void *mneme_decoder_open(MnemeCompression compression);

/// Decodes some bytes. `inputCount` and `outputCount` hold the bytes there, and afterwards the bytes taken and made. `isLast` says that no input
/// follows that of this call.
MnemeDecoding mneme_decoder_run(void *decoder, const uint8_t *input, size_t *inputCount, uint8_t *output, size_t *outputCount, int isLast);

void mneme_decoder_close(void *decoder);

typedef enum { MNEME_CONVERTED, MNEME_INPUT_ILL_FORMED, MNEME_INPUT_INCOMPLETE, MNEME_OUTPUT_FULL } MnemeConversion;

/// A converter of `encoding`, by a name that iconv knows, to UTF-8; NULL where it knows none.
void *mneme_converter_open(const char *encoding);

/// Converts some bytes. The counts are as above; what stopped it is returned, at the byte after those that were taken.
MnemeConversion mneme_converter_run(void *converter, const uint8_t *input, size_t *inputCount, uint8_t *output, size_t *outputCount);

void mneme_converter_close(void *converter);

#endif
