// What the rows hold that a search has found, whichever rank holds them.

import Collectives
import Diagnostics
import Storage

/// The tokens of some rows, one list a row.
public struct RowTokens: RandomAccessCollection, Sendable {
    /// All of them, row after row.
    public private(set) var tokens: [Int32] = []
    /// Where each row begins, and the end of the last.
    public private(set) var starts: [Int] = [0]

    public var startIndex: Int { 0 }
    public var endIndex: Int { starts.count - 1 }
    /// The tokens of the `row`-th row that was asked for.
    public subscript(row: Int) -> ArraySlice<Int32> { tokens[starts[row]..<starts[row + 1]] }

    fileprivate mutating func append(_ row: some Collection<Int32>) {
        tokens += row
        starts.append(tokens.count)
    }
}

extension MemoryBank {
    /// The tokens of rows, in a bank of tokens. Collective; each rank asks for rows of its own choice.
    ///
    /// - Parameter rows: numbers that ``nearest(_:count:in:generation:visiting:)`` gave; may repeat.
    /// - Returns: of each row its tokens; none for a row that does not exist or waits for its admission.
    /// - Throws: `UserError` (.configuration) for a bank of other values.
    /// - Complexity: each rank sends and receives its different rows once; with one rank nothing is copied but the tokens.
    public func tokens(ofRows rows: [Int]) throws -> RowTokens {
        guard configuration.value == .tokens else {
            throw UserError(
                .configuration, "its values are \(configuration.value.rawValue), not tokens", at: directory, advice: "use a bank of tokens")
        }
        func own(_ row: Int) -> [Int32] { admitted(row).map { columns.tokens($0.block, $0.slot) } ?? [] }
        var result = RowTokens()
        if communicator.size == 1 {
            for row in rows { result.append(own(row)) }
            return result
        }
        let asked = AskedRows(rows, columns.layout, ranks: communicator.size)
        // Of each row the number of its tokens, then all tokens.
        let answers = try asked.answers(communicator) { rows in
            let lists = rows.map(own)
            return (lists.map { Int32($0.count) } + lists.joined()).withUnsafeBytes { Array($0) }
        }
        let lists = zip(answers, asked.byRank).map { bytes, rows in
            let words = bytes.withUnsafeBytes { bytes in (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self) } }
            var starts = [rows.count]
            for row in rows.indices { starts.append(starts[row] + Int(words[row])) }
            return (words: words, starts: starts)
        }
        for row in rows {
            guard let (rank, place) = asked.places[row] else {
                result.append([Int32]())
                continue
            }
            let (words, starts) = lists[rank]
            result.append(words[starts[place]..<starts[place + 1]])
        }
        return result
    }

    /// The records of rows. Collective; each rank asks for rows of its own choice.
    ///
    /// - Parameter rows: numbers that ``nearest(_:count:in:generation:visiting:)`` gave; may repeat.
    /// - Returns: of each row its record; `nil` where it does not exist or waits for its admission.
    public func records(ofRows rows: [Int]) throws -> [BankRecord?] {
        func own(_ row: Int) -> BankRecord? { admitted(row).map { columns.record($0.block, $0.slot) } }
        if communicator.size == 1 { return rows.map(own) }
        let asked = AskedRows(rows, columns.layout, ranks: communicator.size)
        let answers = try asked.answers(communicator) { Array(try JSONText.line($0.map { own($0).map { BankRecordLine($0) } }).utf8) }
        let lists = try answers.map { try BankJSON.decoder.decode([BankRecordLine?].self, from: .init($0)).map { try $0?.whole() } }
        return rows.map { row in asked.places[row].flatMap { lists[$0.rank][$0.place] } }
    }
}

/// Rows that one rank asks all for: each once, of the rank that holds it.
private struct AskedRows {
    /// Which rank holds a row, and its place among those that it is asked for.
    private(set) var places: [Int: (rank: Int, place: Int)] = [:]
    private(set) var byRank: [[Int64]]

    init(_ rows: [Int], _ layout: RowLayout, ranks: Int) {
        byRank = [[Int64]](repeating: [], count: ranks)
        for row in rows where row >= 0 && places[row] == nil {
            let rank = layout.shard(of: row) % ranks
            places[row] = (rank, byRank[rank].count)
            byRank[rank].append(Int64(row))
        }
    }

    /// What the ranks say, by rank. Collective.
    /// - Parameter answer: says it for rows of this rank.
    func answers(_ communicator: any Communicator, _ answer: ([Int]) throws -> [UInt8]) throws -> [[UInt8]] {
        let questions = try communicator.allToAll(byRank.map { $0.withUnsafeBytes { Array($0) } })
        let own = try communicator.onEveryRank {
            try questions.map { bytes in
                try answer(bytes.withUnsafeBytes { bytes in (0..<bytes.count / 8).map { Int(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) } })
            }
        }
        return try communicator.allToAll(own)
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
