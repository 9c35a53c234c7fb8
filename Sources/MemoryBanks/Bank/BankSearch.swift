// The records whose keys are most like a vector.

import Collectives
import Diagnostics

/// A record that a search has found.
public struct BankHit: Sendable {
    /// How like its key is, by the bank's metric: larger is more alike.
    public let score: Float
    public let record: BankRecord
}

extension MemoryBank {
    /// The `count` records whose keys are most like `query`, the best first; of equal scores the smaller namespace and id. Exact.
    /// Collective.
    ///
    /// - Parameters:
    ///   - filter: which records may be found.
    ///   - generation: what made the query; must be the bank's. `nil` where that is known to be so.
    /// - Throws: `UserError`: (.configuration) for a query of another generation or width, and a bank without keys, (.badData) for one that
    ///   is not finite, (.missingInput) for a namespace that does not exist.
    /// - Complexity: O(records of the scope x width).
    public func search(_ query: [Float], count: Int, in filter: BankFilter, generation: BankGeneration? = nil) throws -> [BankHit] {
        try requireScope(filter.scope)
        guard configuration.keyWidth > 0 else {
            throw UserError(.configuration, "the bank has no keys to search by", at: directory, advice: "look records up by id")
        }
        try requireGeneration(generation)
        guard query.count == configuration.keyWidth else {
            throw UserError(
                .configuration, "the query has \(quantity(query.count, "element")), and the bank's keys \(configuration.keyWidth)",
                at: directory,
                advice: "make it with the bank's encoder: \(self.generation?.description ?? "unknown")")
        }
        guard query.allSatisfy(\.isFinite) else {
            throw UserError(.badData, "the query is not finite", at: directory, advice: "make it again")
        }
        var best: [(score: Float, record: BankRecord)] = []
        func sortBest() {
            best.sort { $0.score == $1.score ? Self.precedes($0.record, $1.record) : $0.score > $1.score }
            best.removeLast(max(0, best.count - count))
        }
        var worst = -Float.infinity
        for row in localRows(filter, waiting: false) {
            guard let (block, slot) = table.location(row) else { continue }
            let score = score(query, columns.key(block, slot))
            guard best.count < count || score >= worst else { continue }
            best.append((score, columns.record(block, slot)))
            if best.count >= 2 * count + 64 {
                sortBest()
                worst = best.last?.score ?? worst
            }
        }
        sortBest()
        guard communicator.size > 1 else { return best.map { BankHit(score: $0.score, record: $0.record) } }
        let lines = Array(
            try JSONText.line(
                best.map { HitLine(score: $0.score.bitPattern, sightings: $0.record.sightings, line: BankRecordLine($0.record)) }
            ).utf8)
        best = try communicator.allGather(lines).flatMap { bytes in
            try BankJSON.decoder.decode([HitLine].self, from: .init(bytes)).map { (Float(bitPattern: $0.score), try $0.line.whole()) }
        }
        sortBest()
        return best.map { BankHit(score: $0.score, record: $0.record) }
    }

    /// A hit on its way to other ranks.
    private struct HitLine: Codable {
        let score: UInt32
        let sightings: Int
        let line: BankRecordLine
    }

    /// How like a key is: products are summed in float64, in their order.
    private func score(_ query: [Float], _ key: [Float]) -> Float {
        var (dot, first, second, distance) = (0.0, 0.0, 0.0, 0.0)
        for (one, other) in zip(query, key) {
            let (one, other) = (Double(one), Double(other))
            dot += one * other
            first += one * one
            second += other * other
            distance += (one - other) * (one - other)
        }
        switch configuration.metric {
        case .dot: return Float(dot)
        case .cosine: return first == 0 || second == 0 ? 0 : Float(dot / (first * second).squareRoot())
        case .euclidean: return Float(-distance)
        }
    }
}

extension BankRecordLine {
    /// The record with all that was counted.
    func whole() throws -> BankRecord {
        var record = try record(namespace: nil)
        (record.version, record.commit, record.writtenStep) = (version ?? 0, commit ?? 0, writtenStep ?? 0)
        (record.writtenTime, record.lastUsedStep, record.useCount) = (writtenTime ?? 0, lastUsedStep ?? -1, useCount ?? 0)
        record.generation = generation ?? -1
        return record
    }
}
