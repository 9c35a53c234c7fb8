// What corpus.json says. The directory's layout is described in Corpora.docc/CorpusDirectory.md.

import Corpora
import Diagnostics
import Foundation
import Storage

/// What a corpus holds.
public enum CorpusKind: String, Sendable, Codable {
    /// Documents, one after the other, each closed by the end piece.
    case text
    /// Pairs of a source and a target.
    case pairs
}

/// Counts of a shard or of a whole corpus.
public struct CorpusCounts: Sendable, Codable, Equatable {
    /// Documents, or pairs. A document that is longer than a shard counts once in each.
    public var documents = 0
    /// Tokens in the files; of both sides for pairs. Text has an end piece after each document, pairs have none.
    public var tokens = 0
    /// Tokens of source sides; 0 for text.
    public var sourceTokens = 0
    /// Tokens of target sides; 0 for text.
    public var targetTokens = 0
    /// Words between white space plus one for each line's end, which perplexity per word divides by; of the target side for pairs.
    public var words = 0
    /// Bytes of text kept, after cleaning; of both sides for pairs.
    public var textBytes = 0
    /// Characters (Unicode scalars) of that text; `nil` in corpora of before characters were counted.
    public var textCharacters: Int? = 0
    /// Tokens of the longest document, or of the longest source side.
    public var longestSource = 0
    /// Tokens of the longest target side; 0 for text.
    public var longestTarget = 0

    /// Counts of nothing.
    public init() {}

    /// Adds another shard's counts.
    public mutating func add(_ other: CorpusCounts) {
        documents += other.documents
        tokens += other.tokens
        sourceTokens += other.sourceTokens
        targetTokens += other.targetTokens
        words += other.words
        textBytes += other.textBytes
        textCharacters = textCharacters.flatMap { mine in other.textCharacters.map { mine + $0 } }
        longestSource = max(longestSource, other.longestSource)
        longestTarget = max(longestTarget, other.longestTarget)
    }
}

/// The contents of corpus.json. It is written last: a directory without it is an unfinished corpus.
public struct CorpusManifest: Sendable, Codable, Equatable {
    /// The version of the directory's format that this program writes and reads.
    public static let currentVersion = 1

    /// One input file.
    public struct Input: Sendable, Codable, Equatable {
        /// The path as the user gave it.
        public var path: String
        /// Its size.
        public var bytes: Int
        /// XXH64 of its bytes, in hexadecimal.
        public var xxh64: String
    }

    /// The tokenizer, a copy of which lies in the directory.
    public struct Tokenizer: Sendable, Codable, Equatable {
        /// The copy's name.
        public var file: String
        /// SHA-256 of the model file, in hexadecimal.
        public var sha256: String
        /// Pieces, special ones included.
        public var vocabularySize: Int
        /// The piece for what no other piece spells.
        public var unknownId: Int32
        /// The piece that starts a target.
        public var beginningId: Int32
        /// The piece that ends a document or a target.
        public var endId: Int32
        /// The padding piece; where the model has none, the unknown piece (padding is masked anyway).
        public var paddingId: Int32

        /// The description of a tokenizer whose copy has its usual name.
        init(describing tokenizer: SentencePieceTokenizer) {
            file = Corpus.tokenizerFile
            sha256 = tokenizer.fingerprint
            vocabularySize = tokenizer.vocabularySize
            unknownId = tokenizer.unknownID
            beginningId = tokenizer.beginningID
            endId = tokenizer.endID
            paddingId = tokenizer.paddingID >= 0 ? tokenizer.paddingID : tokenizer.unknownID
        }
    }

    /// A record that was wrong and left out.
    public struct BadRecord: Sendable, Codable, Equatable {
        /// What is wrong with it.
        public var what: String
        /// The file it stands in, as the user gave it.
        public var file: String
        /// Its first line, from 1.
        public var line: Int
        /// Its first byte in the uncompressed text, from 0.
        public var byte: Int
    }

    /// One shard file.
    public struct Shard: Sendable, Codable, Equatable {
        /// The file's name in the directory.
        public var file: String
        /// True when the first document goes on where the shard before ends.
        public var continuesDocument: Bool
        /// What it holds.
        public var counts: CorpusCounts
        /// What cleaning kept and dropped of its records.
        public var cleaning: CleaningCounts
        /// CRC-32 of each dataset's bytes, in hexadecimal, by name.
        public var checksums: [String: String]
        /// The file's size, by which a copy that was cut off is found before any of it is read; `nil` in manifests of before sizes were kept, and in
        /// the summary within the file.
        public var bytes: Int?
    }

    /// Always "mneme-corpus".
    public var format: String
    /// The version of the directory's format.
    public var formatVersion: Int
    /// Text or pairs.
    public var kind: CorpusKind
    /// SHA-256 over everything the shards hold: two corpora with the same fingerprint train the same model.
    public var fingerprint: String
    /// SHA-256 over the inputs, the options and the tokenizer: what the shards were made from.
    public var recipe: String
    /// The format that was read.
    public var sourceFormat: CorpusFormat
    /// The files it was made from, in the order of reading.
    public var inputs: [Input]
    /// The options of reading, cleaning and sharding, by name.
    public var options: [String: String]
    /// What its tokens are numbers of.
    public var tokenizer: Tokenizer
    /// The type of the token datasets: "uint16" where the vocabulary allows it, else "int32".
    public var tokenType: String
    /// What all shards hold together.
    public var counts: CorpusCounts
    /// What cleaning kept and dropped of all records.
    public var cleaning: CleaningCounts
    /// The number of records that were wrong.
    public var badRecordCount: Int
    /// The first of them.
    public var badRecords: [BadRecord]
    /// Names of the labels that pairs carry.
    public var labels: [String]
    /// The shards in order.
    public var shards: [Shard]

    /// The rules that its texts were cleaned by, as `options` records them; those of the format where it does not, in corpora of before.
    /// - Throws: `UserError(.badData)` where they are no rules.
    public func cleaningRules(at path: String) throws -> CleaningRules {
        guard let text = options["cleaning"] else {
            var rules = sourceFormat.profile.cleaning
            rules.whiteSpace = .ascii
            return rules
        }
        do { return try Self.decoder().decode(CleaningRules.self, from: Data(text.utf8)) } catch {
            throw UserError(.badData, "is damaged: its option cleaning holds no rules", at: path, advice: "shard the corpus again")
        }
    }

    /// The manifest as JSON: sorted keys in snake case, the same bytes for the same content.
    package func encoded() throws -> [UInt8] {
        try Self.encoder().encode(self) + [UInt8(ascii: "\n")]
    }

    /// Reads DIRECTORY/corpus.json.
    /// - Throws: `UserError` where it is absent, of a later version, no manifest, or says what cannot be; see `check(at:)`.
    public static func read(directory: String) throws -> CorpusManifest {
        let path = Self.path(in: directory)
        guard withSystemPath(path, { access($0, F_OK) }) == 0 else {
            throw UserError(
                .missingInput, "no corpus there: corpus.json is missing", at: directory,
                advice: "give a directory that `mneme corpus shard` has finished")
        }
        let data = Data(try DurableFile.read(path))
        struct Version: Decodable {
            var format: String
            var formatVersion: Int
        }
        guard let version = try? decoder().decode(Version.self, from: data), version.format == "mneme-corpus" else {
            throw UserError(.badData, "is not the description of a corpus", at: path, advice: "shard the corpus again")
        }
        guard version.formatVersion == currentVersion else {
            throw UserError(
                .badData, "has format version \(version.formatVersion), this program reads version \(currentVersion)", at: path,
                advice: "shard the corpus again with this program")
        }
        let manifest: CorpusManifest
        do {
            manifest = try decoder().decode(CorpusManifest.self, from: data)
        } catch {
            throw UserError(.badData, "is damaged: \(reason(error))", at: path, advice: "shard the corpus again")
        }
        try manifest.check(at: path)
        return manifest
    }

    /// `directory/corpus.json`.
    static func path(in directory: String) -> String {
        Directory.path(of: "corpus.json", in: directory)
    }

    static func encoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return encoder
    }

    package static func decoder() -> JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case DecodingError.keyNotFound(let key, _): "no key \(key.stringValue)"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context), DecodingError.dataCorrupted(let context):
            (context.codingPath.map(\.stringValue) + [context.debugDescription]).joined(separator: " ")
        default: "\(error)"
        }
    }
}
