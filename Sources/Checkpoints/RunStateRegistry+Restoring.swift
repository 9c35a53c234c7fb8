// Bringing the states of a run back, each byte read once over all ranks.

import Collectives
import Diagnostics
import Foundation
import Storage

/// A checkpoint that states were restored from.
public struct RestoredCheckpoint: Sendable {
    /// The optimizer steps done when it was written.
    public let step: Int
    /// Its directory.
    public let directory: String
    /// What it says about itself.
    public let attributes: [String: CheckpointAttribute]
    /// A line for each newer one that was passed over, with the reason.
    public let passedOver: [String]
    /// The steps of those.
    public let damaged: [Int]
}

extension RunStateRegistry {
    /// Restores the newest checkpoint of a run that is whole. Collective.
    ///
    /// Rank 0 chooses, so that all ranks read the same one, also beside a session that publishes and removes others meanwhile. A checkpoint with damage
    /// or without one of its files is passed over; an error that may pass (permissions, too many open files, the disk) ends the search instead.
    ///
    /// - Parameters:
    ///   - step: a certain checkpoint instead of the newest.
    ///   - check: looks at a checkpoint before it is read, and throws where it is of another task or model.
    ///   - allowed: mismatches that are passed over.
    ///   - willRead: is given a checkpoint that fits, on every rank, before its data are read. May be collective.
    /// - Returns: `nil` where there is no checkpoint at all.
    /// - Throws: on every rank the same `UserError`: (.badData) where none is whole.
    /// - Complexity: replicated items are read by one rank each and broadcast; rows by the ranks that own them.
    public func restoreNewest(
        from store: CheckpointStore, step: Int? = nil, communicator: any Communicator, allowing allowed: (StateMismatch) -> Bool = { _ in false },
        willRead: (CheckpointReader) throws -> Void = { _ in }, check: (CheckpointReader) throws -> Void
    ) throws -> RestoredCheckpoint? {
        var passedOver: [(step: Int, reason: String)] = []
        var isFirstList = true
        var remaining: [Int] = []
        while true {
            if remaining.isEmpty {
                let found = try communicator.onEveryRank { communicator.rank == 0 ? try store.steps().map { Int64($0) } : [] }
                let all = try communicator.broadcasted(found.withUnsafeBytes { Array($0) }, root: 0).withUnsafeBytes {
                    Array($0.bindMemory(to: Int64.self)).map { Int($0) }
                }
                // A second look finds what a live session has published meanwhile.
                let known = Set(passedOver.map(\.step))
                remaining = (step.map { step in all.filter { $0 == step } } ?? all.reversed()).filter { !known.contains($0) }
                if isFirstList, remaining.isEmpty { return nil }
                isFirstList = false
            }
            guard !remaining.isEmpty else {
                throw UserError(
                    .badData, "no checkpoint verifies: \(passedOver.first?.reason ?? "unknown")", at: store.directory,
                    advice: "restore a good copy, or start again with --fresh"
                ).shared
            }
            let candidate = remaining.removeFirst()
            do {
                let attributes = try restore(
                    store.directory(step: candidate), step: candidate, communicator: communicator, allowing: allowed, willRead: willRead, check: check)
                return RestoredCheckpoint(
                    step: candidate, directory: store.directory(step: candidate), attributes: attributes,
                    passedOver: passedOver.map { "passing over \(store.directory(step: $0.step)): \($0.reason)" }, damaged: passedOver.map(\.step))
            } catch let error as UserError where error.isDamage && step == nil {
                passedOver.append((candidate, error.description + ParitySet.advice(store.directory(step: candidate))))
            }
        }
    }

    /// Restores one checkpoint. Collective.
    /// - Parameter step: what it must say that it is of; `nil` for any.
    /// - Returns: its attributes.
    /// - Throws: on every rank the same `UserError`. What was restored until then stays.
    public func restore(
        _ directory: String, step: Int?, communicator: any Communicator, allowing allowed: (StateMismatch) -> Bool = { _ in false },
        willRead: (CheckpointReader) throws -> Void = { _ in }, check: (CheckpointReader) throws -> Void
    ) throws -> [String: CheckpointAttribute] {
        let reader = try communicator.onEveryRank { () -> CheckpointReader in
            let reader = try CheckpointReader(directory: directory)
            if let step, reader.step != step { throw UserError(.badData, "it says that it is of step \(reader.step)", at: directory) }
            try reader.requireShards()
            try check(reader)
            try requireFit(reader, allowing: allowed)
            return reader
        }
        defer { try? reader.close() }
        try willRead(reader)
        let unfit = Set(mismatches(with: reader).map(\.name))
        let items = items
        var values: [Int: [UInt8]] = [:]
        try communicator.onEveryRank {
            for (index, item) in items.enumerated() where !unfit.contains(item.name) {
                let isMine = index % communicator.size == communicator.rank
                try read(item, reader, isMine: isMine) { values[index] = $0 }
            }
            // What nobody restores is verified all the same: a checkpoint with damage is passed over whatever is damaged.
            let known = Set(items.map(\.name)).subtracting(unfit)
            let others = reader.items.filter { !known.contains($0.name) }
            for (index, item) in others.enumerated() where index % communicator.size == communicator.rank { try reader.verify(item) }
        }
        try share(items, values: &values, unfit: unfit, reader, communicator)
        try communicator.onEveryRank {
            for (index, item) in items.enumerated() {
                if let bytes = values[index], case .values(_, let restore) = item.access { try restore(bytes) }
                if unfit.contains(item.name) || reader.item(item.name) == nil { item.ifAbsent?() }
            }
            for attribute in states.flatMap(\.stateAttributes) {
                guard let restore = attribute.restore else { continue }
                if attribute.isOptional, reader.attributes[attribute.name] == nil { continue }
                guard let value = reader.attributes[attribute.name], restore(value) else {
                    throw UserError(.badData, "it has no attribute '\(attribute.name)' that can be", at: directory, advice: "use an earlier checkpoint")
                }
            }
        }
        for state in states { state.wasRestored() }
        return reader.attributes
    }

    /// The bytes that one of `size` ranks reads in ``restore(_:step:communicator:allowing:willRead:check:)``, where everything fits.
    func bytesRead(from reader: CheckpointReader, by rank: Int, of size: Int) -> Int {
        let items = items
        let known = Set(items.map(\.name))
        var sum = 0
        for (index, item) in items.enumerated() {
            guard let saved = reader.item(item.name) else { continue }
            if index % size == rank { sum += saved.byteCount }
            if case .rows(let ranges) = item.placement { sum += ranges.reduce(0) { $0 + $1.count } * saved.rowByteCount }
        }
        for (index, saved) in reader.items.filter({ !known.contains($0.name) }).enumerated() where index % size == rank { sum += saved.byteCount }
        return sum
    }

    /// Reads an item, or this rank's rows of it. Replicated items are read by one rank, with their checksum.
    private func read(_ item: StateItem, _ reader: CheckpointReader, isMine: Bool, _ keep: ([UInt8]) -> Void) throws {
        guard let saved = reader.item(item.name) else { return }
        try Failpoint.restore.pass(reader.directory)
        switch (item.placement, item.access) {
        case (.replicated, .memory(let memory)):
            if isMine { try reader.readVerified(saved, into: memory) }
        case (.replicated, .values):
            guard isMine else { return }
            var bytes = [UInt8](repeating: 0, count: saved.byteCount)
            try bytes.withUnsafeMutableBytes { try reader.readVerified(saved, into: $0) }
            keep(bytes)
        case (.rows(let ranges), let access):
            if isMine { try reader.verify(saved) }
            let count = ranges.reduce(0) { $0 + $1.count } * saved.rowByteCount
            func fill(_ memory: UnsafeMutableRawBufferPointer) throws {
                var start = 0
                for range in ranges {
                    let end = start + range.count * saved.rowByteCount
                    try reader.read(
                        item.name, item.elementType, shape: saved.shape, rows: range, into: UnsafeMutableRawBufferPointer(rebasing: memory[start..<end]))
                    start = end
                }
            }
            switch access {
            case .memory(let memory): try fill(memory)
            case .values:
                var bytes = [UInt8](repeating: 0, count: count)
                try bytes.withUnsafeMutableBytes { try fill($0) }
                keep(bytes)
            }
        }
    }

    /// Hands on what one rank has read.
    private func share(
        _ items: [StateItem], values: inout [Int: [UInt8]], unfit: Set<String>, _ reader: CheckpointReader, _ communicator: any Communicator
    ) throws {
        guard communicator.size > 1 else { return }
        for (index, item) in items.enumerated() where item.placement == .replicated && !unfit.contains(item.name) {
            guard let saved = reader.item(item.name) else { continue }
            let root = index % communicator.size
            switch item.access {
            case .memory(let memory): try communicator.broadcast(memory, root: root)
            case .values:
                var bytes = values[index] ?? [UInt8](repeating: 0, count: saved.byteCount)
                try bytes.withUnsafeMutableBytes { try communicator.broadcast($0, root: root) }
                values[index] = bytes
            }
        }
    }
}

extension UserError {
    /// Whether the error tells that a checkpoint is damaged or lacks a file: one that does not go away by itself, and that another checkpoint does not have.
    var isDamage: Bool { exitCode == .badData || exitCode == .missingInput }
}
