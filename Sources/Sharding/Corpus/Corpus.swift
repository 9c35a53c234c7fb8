// A finished corpus directory, open for reading.

import Corpora
import Diagnostics
import Foundation
import Storage

/// A corpus directory. Shards are checked whole when they are first needed; so many of them stay mapped into memory, the latest used. Nothing else of
/// the corpus's size is held.
///
/// Documents and pairs are numbered 0 ..< `count` over all shards. May be used from several threads.
public final class Corpus: Sendable {
    /// The name of the tokenizer's copy in the directory.
    public static let tokenizerFile = "tokenizer.model"

    /// The directory, as given.
    public let directory: String
    /// What corpus.json says.
    public let manifest: CorpusManifest

    /// Documents before each shard, and in all.
    private let firstDocuments: [Int]
    /// Tokens before each shard, and in all (text).
    private let firstTokens: [Int]
    private let shards: MappedShards

    /// Opens a corpus.
    /// - Parameters:
    ///   - directory: what `mneme corpus shard` wrote.
    ///   - mappedShards: the most shards that stay mapped, at least 1. More cost address space, fewer are mapped again and again where a random order
    ///     comes back to them.
    /// - Throws: `UserError` where corpus.json is absent, damaged or of a later version, and where a shard is absent or not of the size it should be.
    /// - Complexity: asks the file system for the size of every shard; reads none.
    public init(directory: String, mappedShards: Int = 1024) throws {
        precondition(mappedShards >= 1, "\(mappedShards) mapped shards")
        self.directory = directory
        manifest = try CorpusManifest.read(directory: directory)
        for shard in manifest.shards {
            let path = Directory.path(of: shard.file, in: directory)
            try CorpusShard.requireSize(DurableFile.size(of: path), of: path, expecting: shard.bytes)
        }
        firstDocuments = manifest.shards.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.counts.documents) }
        firstTokens = manifest.shards.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.counts.tokens) }
        shards = MappedShards(count: manifest.shards.count, limit: mappedShards) { [manifest] in
            try Self.open($0, of: manifest, in: directory, places: $1)
        }
    }

    /// Maps a shard and, unless its places are known, checks it whole, so that what is read of it later needs no check.
    static func open(_ index: Int, of manifest: CorpusManifest, in directory: String, places: ShardPlaces?) throws -> CorpusShard {
        let entry = manifest.shards[index]
        let path = Directory.path(of: entry.file, in: directory)
        if let places { return try CorpusShard(path: path, entry: entry, places: places) }
        let size = manifest.tokenizer.vocabularySize
        let shard = try CorpusShard(
            path: path, entry: entry, kind: manifest.kind, tokenType: ShardLayout.tokenType(vocabularySize: size), recipe: manifest.recipe)
        try shard.verify(vocabularySize: size, labelCount: manifest.labels.count)
        return shard
    }

    /// Whether it holds text or pairs.
    public var kind: CorpusKind { manifest.kind }
    /// What the format means that it was read from.
    public var profile: CorpusProfile { manifest.sourceFormat.profile }
    /// The number of documents or pairs.
    public var count: Int { manifest.counts.documents }
    /// The number of tokens, of both sides for pairs.
    public var tokenCount: Int { manifest.counts.tokens }
    /// SHA-256 of the tokenizer's model file.
    public var tokenizerFingerprint: String { manifest.tokenizer.sha256 }
    /// Token ids are 0 ..< this.
    public var vocabularySize: Int { manifest.tokenizer.vocabularySize }
    /// The piece that starts a target.
    public var beginningID: Int32 { manifest.tokenizer.beginningId }
    /// The piece that ends a document or a target.
    public var endID: Int32 { manifest.tokenizer.endId }
    /// The piece that fills rows of pairs; it is masked everywhere.
    public var paddingID: Int32 { manifest.tokenizer.paddingId }
    /// Names of pair labels.
    public var labels: [String] { manifest.labels }

    /// The rules that its texts were cleaned by.
    /// - Throws: `UserError(.badData)` where corpus.json holds none.
    public var cleaningRules: CleaningRules {
        get throws { try manifest.cleaningRules(at: CorpusManifest.path(in: directory)) }
    }

    /// The tokenizer from the directory.
    /// - Throws: `UserError(.badData)` where it is not the one the corpus was made with.
    public func tokenizer() throws -> SentencePieceTokenizer {
        let path = Directory.path(of: manifest.tokenizer.file, in: directory)
        let tokenizer = try SentencePieceTokenizer(path: path)
        guard tokenizer.fingerprint == tokenizerFingerprint else {
            throw UserError(.badData, "is not the tokenizer this corpus was made with", at: path, advice: "put the right model file there")
        }
        try requireDescription(of: tokenizer)
        return tokenizer
    }

    /// Makes sure that corpus.json says of its tokenizer what a tokenizer of the same fingerprint is.
    /// - Throws: `UserError(.badData)`.
    public func requireDescription(of tokenizer: SentencePieceTokenizer) throws {
        let found = CorpusManifest.Tokenizer(describing: tokenizer)
        guard manifest.tokenizer == found else {
            throw UserError(
                .badData, "is damaged: it describes its tokenizer as another one than \(manifest.tokenizer.file) is",
                at: CorpusManifest.path(in: directory), advice: "copy the corpus again, or shard it again")
        }
    }

    /// Looks at everything: the tokenizer, every shard's checksums, lengths, offsets and ids.
    /// - Throws: `UserError(.badData)` that names the shard and the dataset.
    public func verify() throws {
        _ = try tokenizer()
        for index in manifest.shards.indices { _ = try Self.open(index, of: manifest, in: directory, places: nil) }
    }

    /// How many shards are mapped now.
    package var mappedShardCount: Int { shards.mappedCount }

    /// The shard that holds element `index` of a table of first elements, and the element's place in it.
    private static func locate(_ index: Int, in firsts: [Int]) -> (shard: Int, index: Int) {
        var low = 0
        var high = firsts.count - 1
        while high - low > 1 {
            let middle = (low + high) / 2
            if firsts[middle] <= index { low = middle } else { high = middle }
        }
        return (low, index - firsts[low])
    }

    // MARK: Text

    /// Where document `index` lies in the corpus's stream of tokens, its end piece included.
    /// - Precondition: the corpus holds text, and `index` is in 0 ..< `count`.
    /// - Complexity: O(log shards).
    public func documentRange(_ index: Int) throws -> Range<Int> {
        precondition(kind == .text && index >= 0 && index < count, "no document \(index) in \(count)")
        let place = Self.locate(index, in: firstDocuments)
        let base = firstTokens[place.shard]
        return try shards.with(place.shard) { shard in
            let offsets = shard.dataset(ShardLayout.documentOffsets)
            return base + offsets.int64(place.index)..<base + offsets.int64(place.index + 1)
        }
    }

    /// The number of the document that holds token `position` of the stream.
    /// - Complexity: O(log documents).
    public func document(atToken position: Int) throws -> Int {
        precondition(kind == .text && position >= 0 && position < tokenCount, "no token \(position) in \(tokenCount)")
        let place = Self.locate(position, in: firstTokens)
        return try shards.with(place.shard) { shard in
            let offsets = shard.dataset(ShardLayout.documentOffsets)
            var low = 0
            var high = offsets.count - 1
            while high - low > 1 {
                let middle = (low + high) / 2
                if offsets.int64(middle) <= place.index { low = middle } else { high = middle }
            }
            return firstDocuments[place.shard] + low
        }
    }

    /// Copies tokens of the stream.
    /// - Precondition: `range` is in 0 ..< `tokenCount`; `output` has room for it.
    public func copyTokens(_ range: Range<Int>, to output: UnsafeMutablePointer<Int32>) throws {
        precondition(kind == .text && range.lowerBound >= 0 && range.upperBound <= tokenCount, "no tokens \(range) in \(tokenCount)")
        var position = range.lowerBound
        while position < range.upperBound {
            let place = Self.locate(position, in: firstTokens)
            let end = min(range.upperBound, firstTokens[place.shard + 1])
            try shards.with(place.shard) { shard in
                shard.dataset(ShardLayout.tokens).copyTokens(
                    place.index..<place.index + end - position, to: output + (position - range.lowerBound))
            }
            position = end
        }
    }

    /// The tokens of document `index`, its end piece included.
    public func document(_ index: Int) throws -> [Int32] {
        let range = try documentRange(index)
        return try tokens(count: range.count) { try copyTokens(range, to: $0) }
    }

    /// Words and line ends of document `index`, which perplexity per word divides by.
    public func documentWords(_ index: Int) throws -> Int {
        precondition(kind == .text && index >= 0 && index < count, "no document \(index) in \(count)")
        let place = Self.locate(index, in: firstDocuments)
        return try shards.with(place.shard) { $0.dataset(ShardLayout.documentWords).int64(place.index) }
    }

    // MARK: Pairs

    /// The lengths, label and words of one pair.
    public struct PairSizes: Sendable, Equatable {
        /// Tokens of the source side.
        public var source: Int
        /// Tokens of the target side, without an end piece.
        public var target: Int
        /// An index into `labels`, or -1.
        public var label: Int32
        /// Words and line ends of the target side.
        public var words: Int
    }

    /// The sizes of pair `index`.
    /// - Precondition: the corpus holds pairs, and `index` is in 0 ..< `count`.
    /// - Complexity: O(log shards).
    public func pairSizes(_ index: Int) throws -> PairSizes {
        let place = pairPlace(index)
        return try shards.with(place.shard) { shard in
            let sources = shard.dataset(ShardLayout.sourceOffsets)
            let targets = shard.dataset(ShardLayout.targetOffsets)
            return PairSizes(
                source: sources.int64(place.index + 1) - sources.int64(place.index),
                target: targets.int64(place.index + 1) - targets.int64(place.index),
                label: shard.dataset(ShardLayout.labels).int32(place.index), words: shard.dataset(ShardLayout.words).int64(place.index))
        }
    }

    /// Copies the part `range` of a source side.
    public func copySource(_ index: Int, _ range: Range<Int>, to output: UnsafeMutablePointer<Int32>) throws {
        try copySide(index, range, ShardLayout.sourceTokens, ShardLayout.sourceOffsets, to: output)
    }

    /// Copies the part `range` of a target side.
    public func copyTarget(_ index: Int, _ range: Range<Int>, to output: UnsafeMutablePointer<Int32>) throws {
        try copySide(index, range, ShardLayout.targetTokens, ShardLayout.targetOffsets, to: output)
    }

    /// The tokens of both sides of pair `index`.
    public func pair(_ index: Int) throws -> (source: [Int32], target: [Int32]) {
        let sizes = try pairSizes(index)
        return (
            try tokens(count: sizes.source) { try copySource(index, 0..<sizes.source, to: $0) },
            try tokens(count: sizes.target) { try copyTarget(index, 0..<sizes.target, to: $0) }
        )
    }

    private func pairPlace(_ index: Int) -> (shard: Int, index: Int) {
        precondition(kind == .pairs && index >= 0 && index < count, "no pair \(index) in \(count)")
        return Self.locate(index, in: firstDocuments)
    }

    private func copySide(_ index: Int, _ range: Range<Int>, _ tokens: String, _ offsets: String, to output: UnsafeMutablePointer<Int32>) throws {
        let place = pairPlace(index)
        try shards.with(place.shard) { shard in
            let table = shard.dataset(offsets)
            let start = table.int64(place.index)
            precondition(
                range.lowerBound >= 0 && start + range.upperBound <= table.int64(place.index + 1), "tokens \(range) of one side of pair \(index)")
            shard.dataset(tokens).copyTokens(start + range.lowerBound..<start + range.upperBound, to: output)
        }
    }

    private func tokens(count: Int, _ fill: (UnsafeMutablePointer<Int32>) throws -> Void) throws -> [Int32] {
        try [Int32](unsafeUninitializedCapacity: max(1, count)) { buffer, initialized in
            if let base = buffer.baseAddress { try fill(base) }
            initialized = count
        }
    }
}
