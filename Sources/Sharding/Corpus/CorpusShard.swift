// One shard file of a corpus, mapped into memory.

import Corpora
import Diagnostics
import Foundation
import HDF5
import Storage

/// A dataset of a shard as it lies in the mapped file; valid as long as the shard is.
struct MappedDataset {
    /// The elements' bytes; read with unaligned loads, since tiny datasets may lie anywhere.
    let bytes: UnsafeRawBufferPointer
    let elementType: HDF5ElementType

    var count: Int { bytes.count / elementType.byteCount }

    /// An element of an int64 dataset.
    @inline(__always)
    func int64(_ index: Int) -> Int {
        Int(bytes.loadUnaligned(fromByteOffset: 8 * index, as: Int64.self))
    }

    /// An element of an int32 dataset.
    @inline(__always)
    func int32(_ index: Int) -> Int32 {
        bytes.loadUnaligned(fromByteOffset: 4 * index, as: Int32.self)
    }

    /// Copies tokens, whatever their type, as int32.
    /// - Precondition: `range` lies in the dataset and `output` has room for it.
    func copyTokens(_ range: Range<Int>, to output: UnsafeMutablePointer<Int32>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "tokens \(range) of a dataset of \(count)")
        switch elementType {
        case .uint16:
            for index in 0..<range.count {
                output[index] = Int32(bytes.loadUnaligned(fromByteOffset: 2 * (range.lowerBound + index), as: UInt16.self))
            }
        default:
            for index in 0..<range.count { output[index] = int32(range.lowerBound + index) }
        }
    }

    /// Whether every token is one of 0 ..< `vocabularySize`.
    func holdsOnlyTokens(below vocabularySize: Int) -> Bool {
        switch elementType {
        case .uint16:
            var largest: UInt16 = 0
            for index in 0..<count { largest = max(largest, bytes.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)) }
            return count == 0 || Int(largest) < vocabularySize
        default:
            // A negative id is a large one without its sign.
            var largest: UInt32 = 0
            for index in 0..<count { largest = max(largest, UInt32(bitPattern: int32(index))) }
            return count == 0 || Int(largest) < vocabularySize
        }
    }
}

/// Where the datasets of a shard lie in its file.
struct ShardPlaces: Sendable {
    fileprivate var fileSize: Int
    fileprivate var datasets: [String: (type: HDF5ElementType, bytes: Range<Int>)] = [:]
}

/// A shard file, mapped read-only; unmapped when it goes out of use, so whoever reads its datasets keeps hold of it.
final class CorpusShard: @unchecked Sendable {
    /// By which the shard may be mapped again without a look at what it says of itself.
    let places: ShardPlaces
    private let path: String
    private let entry: CorpusManifest.Shard
    private let file: MappedFile

    /// The summary that a shard carries, where it was made from `recipe`.
    /// - Throws: `UserError` where the file is no shard, or another's.
    static func summary(_ path: String, recipe: String) throws -> CorpusManifest.Shard {
        _ = try DurableFile.size(of: path)
        let file = try HDF5File.openReadOnly(path)
        defer { try? file.close() }
        return try summary(of: file, recipe: recipe)
    }

    private static func summary(of file: HDF5File, recipe: String) throws -> CorpusManifest.Shard {
        guard case .string(let found) = try file.attribute(ShardLayout.recipeAttribute), found == recipe,
            case .string(let json) = try file.attribute(ShardLayout.summaryAttribute)
        else { throw UserError(.badData, "is a shard of another corpus", at: file.path, advice: "put the corpus's own shard there, or shard it again") }
        do {
            return try CorpusManifest.decoder().decode(CorpusManifest.Shard.self, from: Data(json.utf8))
        } catch {
            throw UserError(.badData, "its summary cannot be read", at: file.path, advice: "shard the corpus again")
        }
    }

    /// Maps a shard.
    /// - Parameters:
    ///   - entry: the shard's entry in corpus.json.
    ///   - recipe: the corpus's.
    /// - Throws: `UserError` where the file is absent, truncated, another corpus's, or not what its entry says.
    convenience init(path: String, entry: CorpusManifest.Shard, kind: CorpusKind, tokenType: HDF5ElementType, recipe: String) throws {
        let size = try DurableFile.size(of: path)
        try Self.requireSize(size, of: path, expecting: entry.bytes)
        let places = try Self.places(
            in: path, of: size, entry: entry, ShardLayout.datasets(kind, tokenType: tokenType), recipe: recipe)
        try self.init(path: path, entry: entry, places: places)
    }

    /// Maps a shard whose places are known.
    /// - Throws: `UserError` where the file is absent, or of another size than it was.
    init(path: String, entry: CorpusManifest.Shard, places: ShardPlaces) throws {
        self.path = path
        self.entry = entry
        self.places = places
        file = try MappedFile(path) { try Self.requireSize($0, of: path, expecting: places.fileSize) }
    }

    /// - Parameter bytes: what corpus.json says; `nil` where it says nothing.
    static func requireSize(_ size: Int, of path: String, expecting bytes: Int?) throws {
        guard size > 0, size == bytes ?? size else {
            throw UserError(
                .badData, "has \(size) bytes where corpus.json says \(bytes.map(String.init) ?? "more")", at: path,
                advice: "copy the shard again, or remove it with corpus.json and shard the corpus again")
        }
    }

    private static func places(
        in path: String, of size: Int, entry: CorpusManifest.Shard, _ layout: [(name: String, type: HDF5ElementType)], recipe: String
    ) throws -> ShardPlaces {
        let file = try HDF5File.openReadOnly(path)
        defer { try? file.close() }
        guard try summary(of: file, recipe: recipe).withoutSize == entry.withoutSize else {
            throw UserError(
                .badData, "says something else of itself than corpus.json does", at: path, advice: "copy the corpus again, or shard it again")
        }
        var places = ShardPlaces(fileSize: size)
        for (name, type) in layout {
            let dataset = try file.dataset(name)
            guard dataset.elementType == type, dataset.layout == .contiguous, dataset.shape.count == 1 else {
                throw UserError(.badData, "dataset \(name) is not a contiguous row of \(type.rawValue)", at: path, advice: "shard the corpus again")
            }
            let length = ShardLayout.length(of: name, entry.counts)
            guard dataset.shape[0] == length else {
                throw UserError(
                    .badData, "dataset \(name) has \(dataset.shape[0]) elements where its counts say \(length)", at: path,
                    advice: "shard the corpus again")
            }
            let count = dataset.byteCount
            guard let offset = count == 0 ? 0 : dataset.fileOffset, count <= size, offset <= size - count else {
                throw UserError(
                    .badData, "dataset \(name) ends after the file does", at: path, advice: "shard the corpus again, or copy the file again")
            }
            places.datasets[name] = (type, offset..<offset + count)
        }
        return places
    }

    /// A dataset by name.
    /// - Precondition: shards of this kind have it.
    func dataset(_ name: String) -> MappedDataset {
        guard let dataset = find(name) else { preconditionFailure("a shard has no dataset \(name)") }
        return dataset
    }

    private func find(_ name: String) -> MappedDataset? {
        places.datasets[name].map { MappedDataset(bytes: UnsafeRawBufferPointer(rebasing: file.bytes[$0.bytes]), elementType: $0.type) }
    }

    /// Compares every dataset with its checksum, offsets with each other, and tokens, labels and words with their ranges.
    /// - Parameters:
    ///   - vocabularySize: token ids must be below.
    ///   - labelCount: labels must be below, or -1.
    /// - Throws: `UserError(.badData)` that names the shard and the dataset.
    /// - Complexity: two passes over the file, about 1 GB/s.
    func verify(vocabularySize: Int, labelCount: Int) throws {
        for name in places.datasets.keys.sorted() {
            let dataset = dataset(name)
            let found = ShardLayout.checksum(of: dataset.bytes)
            guard found == entry.checksums[name] else {
                throw UserError(
                    .badData, "dataset \(name) is damaged: checksum \(found), expected \(entry.checksums[name] ?? "none")", at: path,
                    advice: "copy the shard again, or remove it with corpus.json and shard the corpus again")
            }
        }
        // What follows is wrong only in files that somebody made to be wrong, or where the program that wrote them was.
        func require(_ condition: Bool, _ name: String, _ what: String) throws {
            if !condition { throw UserError(.badData, "dataset \(name) \(what)", at: path, advice: "shard the corpus again") }
        }
        for (tokens, offsets, longest) in [
            (ShardLayout.tokens, ShardLayout.documentOffsets, entry.counts.longestSource),
            (ShardLayout.sourceTokens, ShardLayout.sourceOffsets, entry.counts.longestSource),
            (ShardLayout.targetTokens, ShardLayout.targetOffsets, entry.counts.longestTarget),
        ] {
            guard let row = find(tokens), let table = find(offsets) else { continue }
            let last = table.count - 1
            let isOrdered = (0..<last).allSatisfy { table.int64($0) <= table.int64($0 + 1) }
            try require(isOrdered && table.int64(0) == 0 && table.int64(last) == row.count, offsets, "does not fit its tokens")
            let found = (0..<last).reduce(0) { max($0, table.int64($1 + 1) - table.int64($1)) }
            try require(found == longest, offsets, "has a longest of \(found) tokens where its counts say \(longest)")
            try require(row.holdsOnlyTokens(below: vocabularySize), tokens, "holds an id beyond the vocabulary of \(vocabularySize) pieces")
        }
        for name in [ShardLayout.documentWords, ShardLayout.words] {
            guard let words = find(name) else { continue }
            var sum = 0
            for index in 0..<words.count {
                let count = words.int64(index)
                try require(count >= 0 && count <= entry.counts.words, name, "counts \(count) words, all together are \(entry.counts.words)")
                sum &+= count
            }
            try require(sum == entry.counts.words, name, "counts \(sum) words where its counts say \(entry.counts.words)")
        }
        if let labels = find(ShardLayout.labels) {
            let isKnown = (0..<labels.count).allSatisfy { (-1..<Int32(clamping: labelCount)).contains(labels.int32($0)) }
            try require(isKnown, ShardLayout.labels, "holds a label beyond the \(labelCount) of corpus.json")
        }
    }
}
