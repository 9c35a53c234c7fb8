#include "CSentencePiece.h"
#include <sentencepiece_processor.h>

extern "C" const char *mneme_sentencepiece_version(void) { return "SentencePiece"; }
