#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "CInputs.h"

#include <dlfcn.h>
#include <errno.h>
#include <iconv.h>
#include <stdlib.h>

#if __has_include(<bzlib.h>)
#include <bzlib.h>
#define HAS_BZIP2 1
#endif
#if __has_include(<lzma.h>)
#include <lzma.h>
#define HAS_XZ 1
#endif
#if __has_include(<zstd.h>)
#include <zstd.h>
#define HAS_ZSTD 1
#endif

typedef struct {
    MnemeCompression compression;
    /// Of the library: its stream, and what runs and ends it.
    void *stream;
    void *run;
    void *end;
} Decoder;

/// A function of a library; NULL where the library or the function is missing. A library that was loaded stays.
static void *function(const char *library, const char *name) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    return handle ? dlsym(handle, name) : NULL;
}

void *mneme_decoder_open(MnemeCompression compression) {
    Decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder) return NULL;
    decoder->compression = compression;
    int started = 0;
#if HAS_BZIP2
    if (compression == MNEME_BZIP2) {
        const char *library = function("libbz2.so.1.0", "BZ2_bzDecompress") ? "libbz2.so.1.0" : "libbz2.so.1";
        __typeof__(&BZ2_bzDecompressInit) start = function(library, "BZ2_bzDecompressInit");
        decoder->run = function(library, "BZ2_bzDecompress");
        decoder->end = function(library, "BZ2_bzDecompressEnd");
        decoder->stream = calloc(1, sizeof(bz_stream));
        started = start && decoder->run && decoder->end && decoder->stream && start(decoder->stream, 0, 0) == BZ_OK;
    }
#endif
#if HAS_XZ
    if (compression == MNEME_XZ) {
        __typeof__(&lzma_stream_decoder) start = function("liblzma.so.5", "lzma_stream_decoder");
        decoder->run = function("liblzma.so.5", "lzma_code");
        decoder->end = function("liblzma.so.5", "lzma_end");
        decoder->stream = calloc(1, sizeof(lzma_stream));
        started = start && decoder->run && decoder->end && decoder->stream && start(decoder->stream, UINT64_MAX, 0) == LZMA_OK;
    }
#endif
#if HAS_ZSTD
    if (compression == MNEME_ZSTD) {
        __typeof__(&ZSTD_createDStream) start = function("libzstd.so.1", "ZSTD_createDStream");
        decoder->run = function("libzstd.so.1", "ZSTD_decompressStream");
        decoder->end = function("libzstd.so.1", "ZSTD_freeDStream");
        decoder->stream = start && decoder->run && decoder->end ? start() : NULL;
        started = decoder->stream != NULL;
    }
#endif
    if (started) return decoder;
    if (compression != MNEME_ZSTD) free(decoder->stream);
    free(decoder);
    return NULL;
}

MnemeDecoding mneme_decoder_run(void *opaque, const uint8_t *input, size_t *inputCount, uint8_t *output, size_t *outputCount, int isLast) {
    Decoder *decoder = opaque;
    (void)isLast;
    switch (decoder->compression) {
    case MNEME_BZIP2:
#if HAS_BZIP2
    {
        bz_stream *stream = decoder->stream;
        stream->next_in = (char *)input;
        stream->avail_in = (unsigned)*inputCount;
        stream->next_out = (char *)output;
        stream->avail_out = (unsigned)*outputCount;
        int result = ((__typeof__(&BZ2_bzDecompress))decoder->run)(stream);
        *inputCount -= stream->avail_in;
        *outputCount -= stream->avail_out;
        return result == BZ_OK ? MNEME_DECODING_GOES_ON : result == BZ_STREAM_END ? MNEME_DECODING_ENDS
             : result == BZ_MEM_ERROR ? MNEME_DECODING_NO_MEMORY : MNEME_DECODING_DAMAGED;
    }
#endif
        break;
    case MNEME_XZ:
#if HAS_XZ
    {
        lzma_stream *stream = decoder->stream;
        stream->next_in = input;
        stream->avail_in = *inputCount;
        stream->next_out = output;
        stream->avail_out = *outputCount;
        lzma_ret result = ((__typeof__(&lzma_code))decoder->run)(stream, isLast ? LZMA_FINISH : LZMA_RUN);
        *inputCount -= stream->avail_in;
        *outputCount -= stream->avail_out;
        return result == LZMA_OK || result == LZMA_BUF_ERROR ? MNEME_DECODING_GOES_ON : result == LZMA_STREAM_END ? MNEME_DECODING_ENDS
             : result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR ? MNEME_DECODING_NO_MEMORY : MNEME_DECODING_DAMAGED;
    }
#endif
        break;
    case MNEME_ZSTD:
#if HAS_ZSTD
    {
        ZSTD_inBuffer in = {input, *inputCount, 0};
        ZSTD_outBuffer out = {output, *outputCount, 0};
        size_t result = ((__typeof__(&ZSTD_decompressStream))decoder->run)(decoder->stream, &out, &in);
        *inputCount = in.pos;
        *outputCount = out.pos;
        /* Codes of errors are the largest numbers. */
        return result > (size_t)-256 ? MNEME_DECODING_DAMAGED : result == 0 ? MNEME_DECODING_ENDS : MNEME_DECODING_GOES_ON;
    }
#endif
        break;
    }
    return MNEME_DECODING_DAMAGED;
}

void mneme_decoder_close(void *opaque) {
    Decoder *decoder = opaque;
    ((void (*)(void *))decoder->end)(decoder->stream);
    if (decoder->compression != MNEME_ZSTD) free(decoder->stream);
    free(decoder);
}

void *mneme_converter_open(const char *encoding) {
    iconv_t converter = iconv_open("UTF-8", encoding);
    return converter == (iconv_t)-1 ? NULL : converter;
}

MnemeConversion mneme_converter_run(void *converter, const uint8_t *input, size_t *inputCount, uint8_t *output, size_t *outputCount) {
    char *from = (char *)input, *to = (char *)output;
    size_t left = *inputCount, room = *outputCount;
    int failed = iconv(converter, &from, &left, &to, &room) == (size_t)-1;
    *inputCount -= left;
    *outputCount -= room;
    if (!failed) return MNEME_CONVERTED;
    return errno == E2BIG ? MNEME_OUTPUT_FULL : errno == EINVAL ? MNEME_INPUT_INCOMPLETE : MNEME_INPUT_ILL_FORMED;
}

void mneme_converter_close(void *converter) { iconv_close(converter); }
