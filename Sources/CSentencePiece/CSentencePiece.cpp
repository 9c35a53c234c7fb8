// A C surface over the C++ classes of SentencePiece. Every entry point catches what the library throws and turns it into a status.

#include "CSentencePiece.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

static_assert(sizeof(int) == sizeof(int32_t), "ids are handed out as 32-bit integers");

struct mneme_sentencepiece {
    sentencepiece::SentencePieceProcessor processor;
    std::vector<int> encoded;
    std::vector<int> to_decode;
    std::string decoded;
};

namespace {

void succeed(mneme_sentencepiece_status *status) {
    status->code = 0;
    status->message[0] = '\0';
}

void fail(mneme_sentencepiece_status *status, int code, const char *message) {
    status->code = code == 0 ? -1 : code;
    std::strncpy(status->message, message, sizeof(status->message) - 1);
    status->message[sizeof(status->message) - 1] = '\0';
}

/// Records the library's status; true when it is a success.
bool record(const sentencepiece::util::Status &result, mneme_sentencepiece_status *status) {
    if (result.ok()) {
        succeed(status);
        return true;
    }
    fail(status, static_cast<int>(result.code()), result.error_message());
    return false;
}

/// Runs `body`; an exception becomes a failed status and `failure`.
template <typename Result, typename Body>
Result guarded(Result failure, mneme_sentencepiece_status *status, Body body) {
    try {
        return body();
    } catch (const std::exception &error) {
        fail(status, -1, error.what());
    } catch (...) {
        fail(status, -1, "unknown C++ exception");
    }
    return failure;
}

/// The trainer's view of the caller's sentences. The library asks for `value` only while `done` is false.
class CallbackIterator : public sentencepiece::SentenceIterator {
public:
    CallbackIterator(mneme_sentencepiece_next_sentence next, void *context) : next_(next), context_(context) { Next(); }
    bool done() const override { return done_; }
    void Next() override {
        const char *bytes = nullptr;
        size_t count = 0;
        done_ = next_(context_, &bytes, &count) == 0;
        if (!done_) sentence_.assign(bytes, count);
    }
    const std::string &value() const override { return sentence_; }
    sentencepiece::util::Status status() const override { return sentencepiece::util::Status(); }

private:
    mneme_sentencepiece_next_sentence next_;
    void *context_;
    std::string sentence_;
    bool done_ = false;
};

}  // namespace

extern "C" {

mneme_sentencepiece *mneme_sentencepiece_load(const void *bytes, size_t count, mneme_sentencepiece_status *status) {
    return guarded<mneme_sentencepiece *>(nullptr, status, [&]() -> mneme_sentencepiece * {
        auto model = std::make_unique<mneme_sentencepiece>();
        const auto result = model->processor.LoadFromSerializedProto({static_cast<const char *>(bytes), count});
        return record(result, status) ? model.release() : nullptr;
    });
}

void mneme_sentencepiece_free(mneme_sentencepiece *model) { delete model; }

int64_t mneme_sentencepiece_encode(mneme_sentencepiece *model, const char *bytes, size_t count, const int32_t **ids, mneme_sentencepiece_status *status) {
    return guarded<int64_t>(-1, status, [&]() -> int64_t {
        if (!record(model->processor.Encode({bytes, count}, &model->encoded), status)) return -1;
        *ids = model->encoded.data();
        return static_cast<int64_t>(model->encoded.size());
    });
}

int64_t mneme_sentencepiece_decode(mneme_sentencepiece *model, const int32_t *ids, size_t count, const char **bytes, mneme_sentencepiece_status *status) {
    return guarded<int64_t>(-1, status, [&]() -> int64_t {
        model->to_decode.assign(ids, ids + count);
        if (!record(model->processor.Decode(model->to_decode, &model->decoded), status)) return -1;
        *bytes = model->decoded.data();
        return static_cast<int64_t>(model->decoded.size());
    });
}

int32_t mneme_sentencepiece_vocabulary_size(const mneme_sentencepiece *model) { return model->processor.GetPieceSize(); }

const char *mneme_sentencepiece_piece(const mneme_sentencepiece *model, int32_t id, size_t *count) {
    const std::string &piece = model->processor.IdToPiece(id);
    *count = piece.size();
    return piece.data();
}

int32_t mneme_sentencepiece_id(const mneme_sentencepiece *model, const char *piece, size_t count) { return model->processor.PieceToId({piece, count}); }
int32_t mneme_sentencepiece_unknown_id(const mneme_sentencepiece *model) { return model->processor.unk_id(); }
int32_t mneme_sentencepiece_beginning_id(const mneme_sentencepiece *model) { return model->processor.bos_id(); }
int32_t mneme_sentencepiece_end_id(const mneme_sentencepiece *model) { return model->processor.eos_id(); }
int32_t mneme_sentencepiece_padding_id(const mneme_sentencepiece *model) { return model->processor.pad_id(); }
int32_t mneme_sentencepiece_is_control(const mneme_sentencepiece *model, int32_t id) { return model->processor.IsControl(id) ? 1 : 0; }
int32_t mneme_sentencepiece_is_byte(const mneme_sentencepiece *model, int32_t id) { return model->processor.IsByte(id) ? 1 : 0; }
int32_t mneme_sentencepiece_is_unknown(const mneme_sentencepiece *model, int32_t id) { return model->processor.IsUnknown(id) ? 1 : 0; }

char *mneme_sentencepiece_train(
    const char *const *keys, const char *const *values, size_t option_count, mneme_sentencepiece_next_sentence next, void *context, size_t *count,
    mneme_sentencepiece_status *status) {
    return guarded<char *>(nullptr, status, [&]() -> char * {
        std::unordered_map<std::string, std::string> options;
        for (size_t i = 0; i < option_count; ++i) options[keys[i]] = values[i];
        CallbackIterator sentences(next, context);
        std::string serialized;
        if (!record(sentencepiece::SentencePieceTrainer::Train(options, &sentences, &serialized), status)) return nullptr;
        char *bytes = static_cast<char *>(std::malloc(serialized.size() + 1));
        if (bytes == nullptr) {
            fail(status, -1, "out of memory");
            return nullptr;
        }
        std::memcpy(bytes, serialized.data(), serialized.size());
        *count = serialized.size();
        return bytes;
    });
}

void mneme_sentencepiece_free_bytes(char *bytes) { std::free(bytes); }

}  // extern "C"
