// A C surface over the C++ classes of SentencePiece.
#ifndef MNEME_CSENTENCEPIECE_H
#define MNEME_CSENTENCEPIECE_H
#ifdef __cplusplus
extern "C" {
#endif
const char *mneme_sentencepiece_version(void);
#ifdef __cplusplus
}
#endif
#endif
