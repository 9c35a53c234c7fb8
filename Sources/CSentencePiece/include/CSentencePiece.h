// A C surface over the C++ classes of SentencePiece: load, encode, decode, look up, train. No C++ exception leaves it.
#ifndef MNEME_CSENTENCEPIECE_H
#define MNEME_CSENTENCEPIECE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/// A loaded model. One thread at a time: encode and decode keep their results in buffers that the model owns.
typedef struct mneme_sentencepiece mneme_sentencepiece;

/// How a call ended: `code` is 0 for success; otherwise `message` holds the library's text, cut to fit.
typedef struct {
    int32_t code;
    char message[500];
} mneme_sentencepiece_status;

/// Loads a model from the bytes of a model file. Returns NULL and fills `status` when the bytes are no model.
mneme_sentencepiece *mneme_sentencepiece_load(const void *bytes, size_t count, mneme_sentencepiece_status *status);

/// Frees a model; NULL is allowed.
void mneme_sentencepiece_free(mneme_sentencepiece *model);

/// Encodes `count` bytes of UTF-8. Returns the number of ids, or -1 with `status` filled.
/// `*ids` points into the model's own buffer and stays valid until the next encode.
int64_t mneme_sentencepiece_encode(mneme_sentencepiece *model, const char *bytes, size_t count, const int32_t **ids, mneme_sentencepiece_status *status);

/// Decodes `count` ids, each 0 ..< the vocabulary size. Returns the number of bytes, or -1 with `status` filled.
/// `*bytes` points into the model's own buffer and stays valid until the next decode.
int64_t mneme_sentencepiece_decode(mneme_sentencepiece *model, const int32_t *ids, size_t count, const char **bytes, mneme_sentencepiece_status *status);

/// The number of pieces.
int32_t mneme_sentencepiece_vocabulary_size(const mneme_sentencepiece *model);
/// The piece of `id` (0 ..< the vocabulary size); its length in `*count`. Valid as long as the model.
const char *mneme_sentencepiece_piece(const mneme_sentencepiece *model, int32_t id, size_t *count);
/// The id of a piece, or the id of the unknown piece.
int32_t mneme_sentencepiece_id(const mneme_sentencepiece *model, const char *piece, size_t count);
/// Ids of the special pieces; -1 where the model has none.
int32_t mneme_sentencepiece_unknown_id(const mneme_sentencepiece *model);
int32_t mneme_sentencepiece_beginning_id(const mneme_sentencepiece *model);
int32_t mneme_sentencepiece_end_id(const mneme_sentencepiece *model);
int32_t mneme_sentencepiece_padding_id(const mneme_sentencepiece *model);
/// 1 when `id` is a control piece (it stands for no text), a byte piece, the unknown piece; else 0.
int32_t mneme_sentencepiece_is_control(const mneme_sentencepiece *model, int32_t id);
int32_t mneme_sentencepiece_is_byte(const mneme_sentencepiece *model, int32_t id);
int32_t mneme_sentencepiece_is_unknown(const mneme_sentencepiece *model, int32_t id);

/// Hands the trainer its next sentence. Returns 1 with `*bytes` and `*count` set (valid until the next call), 0 at the end.
typedef int32_t (*mneme_sentencepiece_next_sentence)(void *context, const char **bytes, size_t *count);

/// Trains a model. `keys` and `values` are `option_count` training options as SentencePiece names them.
/// Returns the bytes of the model file (free them with mneme_sentencepiece_free_bytes), or NULL with `status` filled.
char *mneme_sentencepiece_train(
    const char *const *keys, const char *const *values, size_t option_count, mneme_sentencepiece_next_sentence next, void *context, size_t *count,
    mneme_sentencepiece_status *status);

/// Frees what mneme_sentencepiece_train returned.
void mneme_sentencepiece_free_bytes(char *bytes);

#ifdef __cplusplus
}
#endif
#endif
