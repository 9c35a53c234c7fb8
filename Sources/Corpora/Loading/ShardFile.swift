// One shard file, mapped into memory.

import Diagnostics
import Foundation
import HDF5

/// A dataset of a shard as it lies in the mapped file.
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
}

/// A shard file, mapped read-only; unmapped when it goes out of use.
final class ShardFile: @unchecked Sendable {
    private let path: String
    private let summary: CorpusManifest.Shard
    private let mapping: UnsafeRawBufferPointer
    private let datasets: [String: MappedDataset]

    /// The summary that a shard carries, where it was made from `recipe`.
    /// - Throws: `UserError` where the file is no shard, or another's.
    static func summary(_ path: String, recipe: String?) throws -> CorpusManifest.Shard {
        let file = try HDF5File.openReadOnly(path)
        defer { try? file.close() }
        guard case .string(let found) = try file.attribute(ShardLayout.recipeAttribute), recipe == nil || found == recipe,
            case .string(let json) = try file.attribute(ShardLayout.summaryAttribute)
        else { throw UserError(.badData, "is a shard of another corpus", at: path) }
        do {
            return try CorpusManifest.decoder().decode(CorpusManifest.Shard.self, from: Data(json.utf8))
        } catch {
            throw UserError(.badData, "its summary cannot be read", at: path, advice: "shard the corpus again")
        }
    }

    /// Maps a shard.
    /// - Parameter summary: the shard's entry in corpus.json.
    /// - Throws: `UserError` where the file is absent, truncated, or not what the summary says.
    init(path: String, kind: CorpusKind, tokenType: HDF5ElementType, summary: CorpusManifest.Shard) throws {
        self.path = path
        self.summary = summary
        let file = try HDF5File.openReadOnly(path)
        defer { try? file.close() }
        var places: [(name: String, type: HDF5ElementType, offset: Int, byteCount: Int)] = []
        for (name, type) in ShardLayout.datasets(kind, tokenType: tokenType) {
            let dataset = try file.dataset(name)
            guard dataset.elementType == type, dataset.layout == .contiguous, dataset.shape.count == 1 else {
                throw UserError(.badData, "dataset \(name) is not a contiguous row of \(type.rawValue)", at: path, advice: "shard the corpus again")
            }
            places.append((name, type, dataset.fileOffset ?? 0, dataset.byteCount))
        }
        mapping = try Self.map(path)
        var datasets: [String: MappedDataset] = [:]
        for place in places {
            guard place.offset + place.byteCount <= mapping.count else {
                munmap(UnsafeMutableRawPointer(mutating: mapping.baseAddress), mapping.count)
                throw UserError(
                    .badData, "dataset \(place.name) ends after the file does", at: path, advice: "shard the corpus again, or copy the file again")
            }
            let bytes = UnsafeRawBufferPointer(rebasing: mapping[place.offset..<place.offset + place.byteCount])
            datasets[place.name] = MappedDataset(bytes: bytes, elementType: place.type)
        }
        self.datasets = datasets
    }

    deinit {
        munmap(UnsafeMutableRawPointer(mutating: mapping.baseAddress), mapping.count)
    }

    private static func map(_ path: String) throws -> UnsafeRawBufferPointer {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw UserError(.missingInput, "cannot be opened: \(FileBytes.systemReason())", at: path) }
        defer { close(descriptor) }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        guard size > 0, let base = mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
            throw UserError(.inputOutput, "cannot be mapped into memory: \(FileBytes.systemReason())", at: path)
        }
        return UnsafeRawBufferPointer(start: base, count: size)
    }

    /// A dataset by name.
    /// - Precondition: shards of this kind have it.
    func dataset(_ name: String) -> MappedDataset {
        guard let dataset = datasets[name] else { preconditionFailure("a shard has no dataset \(name)") }
        return dataset
    }

    /// Compares every dataset with its checksum and its length, and offsets with each other.
    /// - Throws: `UserError(.badData)` that names the shard and the dataset.
    /// - Complexity: one pass over the file, about 1 GB/s.
    func verify() throws {
        for (name, dataset) in datasets.sorted(by: { $0.key < $1.key }) {
            let found = Checksum.crc32(of: dataset.bytes)
            guard found == summary.checksums[name] else {
                throw UserError(
                    .badData, "dataset \(name) is damaged: checksum \(found), expected \(summary.checksums[name] ?? "none")", at: path,
                    advice: "copy the shard again, or remove it with corpus.json and shard the corpus again")
            }
        }
        for (tokens, offsets) in [
            (ShardLayout.tokens, ShardLayout.documentOffsets), (ShardLayout.sourceTokens, ShardLayout.sourceOffsets),
            (ShardLayout.targetTokens, ShardLayout.targetOffsets),
        ] {
            guard let tokens = datasets[tokens], let table = datasets[offsets] else { continue }
            let isOrdered = table.count == summary.counts.documents + 1 && (0..<table.count - 1).allSatisfy { table.int64($0) <= table.int64($0 + 1) }
            guard isOrdered, table.int64(0) == 0, table.int64(table.count - 1) == tokens.count else {
                throw UserError(.badData, "dataset \(offsets) does not fit its tokens", at: path, advice: "shard the corpus again")
            }
        }
    }
}
