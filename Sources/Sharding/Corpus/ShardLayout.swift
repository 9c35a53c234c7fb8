// What a shard file holds: names, types and lengths of its datasets, and their checksums.

import CZlib
import Corpora
import HDF5

/// The attributes and datasets of a shard file.
enum ShardLayout {
    static let format = "mneme-corpus-shard"
    static let formatAttribute = "format"
    static let versionAttribute = "format_version"
    /// What the shard was made from; see `CorpusManifest.recipe`.
    static let recipeAttribute = "recipe"
    /// The shard's entry in corpus.json but for its size, as JSON.
    static let summaryAttribute = "summary"
    /// CRC-32 of a dataset's bytes.
    static let checksumAttribute = "crc32"

    static let tokens = "tokens"
    static let documentOffsets = "document_offsets"
    static let documentWords = "document_words"
    static let sourceTokens = "source_tokens"
    static let sourceOffsets = "source_offsets"
    static let targetTokens = "target_tokens"
    static let targetOffsets = "target_offsets"
    static let labels = "labels"
    static let words = "words"

    /// Names and element types of the datasets of a kind, in file order.
    static func datasets(_ kind: CorpusKind, tokenType: HDF5ElementType) -> [(name: String, type: HDF5ElementType)] {
        switch kind {
        case .text: [(tokens, tokenType), (documentOffsets, .int64), (documentWords, .int64)]
        case .pairs:
            [
                (sourceTokens, tokenType), (targetTokens, tokenType), (sourceOffsets, .int64), (targetOffsets, .int64), (labels, .int32),
                (words, .int64),
            ]
        }
    }

    /// How many elements a dataset has in a shard with these counts.
    static func length(of name: String, _ counts: CorpusCounts) -> Int {
        switch name {
        case tokens: counts.tokens
        case sourceTokens: counts.sourceTokens
        case targetTokens: counts.targetTokens
        case documentOffsets, sourceOffsets, targetOffsets: counts.documents + 1
        default: counts.documents
        }
    }

    /// The type of token datasets: uint16 where it holds every id of the vocabulary.
    static func tokenType(vocabularySize: Int) -> HDF5ElementType { vocabularySize <= 1 << 16 ? .uint16 : .int32 }

    /// `shard-<index>.h5`.
    static func fileName(_ index: Int) -> String { "shard-\(index).h5" }

    /// A shard's name until it is complete.
    static func partialName(_ index: Int) -> String { ".\(fileName(index)).partial" }

    /// CRC-32 of `bytes`, as zlib computes it, in 8 hexadecimal digits.
    static func checksum(of bytes: UnsafeRawBufferPointer) -> String {
        hexadecimal(UInt64(CZlib.crc32_z(0, bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count)), digits: 8)
    }
}
