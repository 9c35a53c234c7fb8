// A finished corpus directory, open for reading.

import Diagnostics
import Foundation
import HDF5
import Synchronization

/// A corpus directory. Shards are mapped into memory when they are first needed and checked against their checksums then; nothing else of the
/// corpus's size is held.
///
/// Documents and pairs are numbered 0 ..< `count` over all shards. May be used from several threads.
public final class Corpus: Sendable {
    /// The name of the tokenizer's copy in the directory.
    public static let tokenizerFile = "tokenizer.model"

    /// The directory, as given.
    public let directory: String
    /// What corpus.json says.
    public let manifest: CorpusManifest

    private let tokenType: HDF5ElementType
    private let verifies: Bool
    /// Documents before each shard, and in all.
    private let firstDocuments: [Int]
    /// Tokens before each shard, and in all (text).
    private let firstTokens: [Int]
    private let shards: Mutex<[ShardFile?]>

    /// Opens a corpus.
    /// - Parameters:
    ///   - directory: what `mneme corpus shard` wrote.
    ///   - verifying: whether shards are compared with their checksums when they are first needed.
    /// - Throws: `UserError` where corpus.json is absent, damaged or of a later version.
    public init(directory: String, verifying: Bool = true) throws {
        self.directory = directory
        manifest = try CorpusManifest.read(directory: directory)
        guard let tokenType = HDF5ElementType(rawValue: manifest.tokenType), tokenType == .uint16 || tokenType == .int32 else {
            throw UserError(.badData, "tokens of type \(manifest.tokenType) are unknown", at: CorpusManifest.path(in: directory))
        }
        self.tokenType = tokenType
        verifies = verifying
        firstDocuments = manifest.shards.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.counts.documents) }
        firstTokens = manifest.shards.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.counts.tokens) }
        shards = Mutex(Array(repeating: nil, count: manifest.shards.count))
    }

    /// Whether it holds text or pairs.
    public var kind: CorpusKind { manifest.kind }
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

    /// The tokenizer from the directory.
    /// - Throws: `UserError(.badData)` where it is not the one the corpus was made with.
    public func tokenizer() throws -> SentencePieceTokenizer {
        let path = (directory as NSString).appendingPathComponent(manifest.tokenizer.file)
        let tokenizer = try SentencePieceTokenizer(path: path)
        guard tokenizer.fingerprint == tokenizerFingerprint else {
            throw UserError(.badData, "is not the tokenizer this corpus was made with", at: path, advice: "put the right model file there")
        }
        return tokenizer
    }

    /// Compares every shard with its checksums.
    /// - Throws: `UserError(.badData)` that names the shard and the dataset.
    public func verify() throws {
        for index in manifest.shards.indices { try openShard(index).verify() }
    }

    private func openShard(_ index: Int) throws -> ShardFile {
        let entry = manifest.shards[index]
        return try ShardFile(path: (directory as NSString).appendingPathComponent(entry.file), kind: kind, tokenType: tokenType, summary: entry)
    }

    private func shard(_ index: Int) throws -> ShardFile {
        try shards.withLock { shards in
            if let shard = shards[index] { return shard }
            let shard = try openShard(index)
            if verifies { try shard.verify() }
            shards[index] = shard
            return shard
        }
    }

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
        let offsets = try shard(place.shard).dataset(ShardLayout.documentOffsets)
        let base = firstTokens[place.shard]
        return base + offsets.int64(place.index)..<base + offsets.int64(place.index + 1)
    }

    /// The number of the document that holds token `position` of the stream.
    /// - Complexity: O(log documents).
    public func document(atToken position: Int) throws -> Int {
        precondition(kind == .text && position >= 0 && position < tokenCount, "no token \(position) in \(tokenCount)")
        let place = Self.locate(position, in: firstTokens)
        let offsets = try shard(place.shard).dataset(ShardLayout.documentOffsets)
        var low = 0
        var high = offsets.count - 1
        while high - low > 1 {
            let middle = (low + high) / 2
            if offsets.int64(middle) <= place.index { low = middle } else { high = middle }
        }
        return firstDocuments[place.shard] + low
    }

    /// Copies tokens of the stream.
    /// - Precondition: `range` is in 0 ..< `tokenCount`; `output` has room for it.
    public func copyTokens(_ range: Range<Int>, to output: UnsafeMutablePointer<Int32>) throws {
        precondition(kind == .text && range.lowerBound >= 0 && range.upperBound <= tokenCount, "no tokens \(range) in \(tokenCount)")
        var position = range.lowerBound
        while position < range.upperBound {
            let place = Self.locate(position, in: firstTokens)
            let end = min(range.upperBound, firstTokens[place.shard + 1])
            try shard(place.shard).dataset(ShardLayout.tokens).copyTokens(
                place.index..<place.index + end - position, to: output + (position - range.lowerBound))
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
        return try shard(place.shard).dataset(ShardLayout.documentWords).int64(place.index)
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
        let (shard, place) = try pairPlace(index)
        let sources = shard.dataset(ShardLayout.sourceOffsets)
        let targets = shard.dataset(ShardLayout.targetOffsets)
        return PairSizes(
            source: sources.int64(place + 1) - sources.int64(place), target: targets.int64(place + 1) - targets.int64(place),
            label: shard.dataset(ShardLayout.labels).int32(place), words: shard.dataset(ShardLayout.words).int64(place))
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

    private func pairPlace(_ index: Int) throws -> (ShardFile, Int) {
        precondition(kind == .pairs && index >= 0 && index < count, "no pair \(index) in \(count)")
        let place = Self.locate(index, in: firstDocuments)
        return (try shard(place.shard), place.index)
    }

    private func copySide(_ index: Int, _ range: Range<Int>, _ tokens: String, _ offsets: String, to output: UnsafeMutablePointer<Int32>) throws {
        let (shard, place) = try pairPlace(index)
        let table = shard.dataset(offsets)
        let start = table.int64(place)
        precondition(range.lowerBound >= 0 && start + range.upperBound <= table.int64(place + 1), "tokens \(range) of one side of pair \(index)")
        shard.dataset(tokens).copyTokens(start + range.lowerBound..<start + range.upperBound, to: output)
    }

    private func tokens(count: Int, _ fill: (UnsafeMutablePointer<Int32>) throws -> Void) throws -> [Int32] {
        try [Int32](unsafeUninitializedCapacity: max(1, count)) { buffer, initialized in
            if let base = buffer.baseAddress { try fill(base) }
            initialized = count
        }
    }
}
