// What ranks must agree on: their inputs at the start, errors at any time, and stop signals at step boundaries.

import Diagnostics

extension Communicator {
    /// Checks that every rank has the same items. Collective; where nothing differs it costs two integer all-reduces.
    ///
    /// Ranks are compared with rank 0, or, where more than half of them agree on another value than rank 0's, with those.
    ///
    /// - Parameter items: names ("configuration key model.width", "hash of the program") and values, in the same order on every rank.
    /// - Throws: on every rank the same `UserError` (.configuration): the first item that differs, the ranks, and both values.
    public func agree(on items: [(name: String, value: String)]) throws {
        guard size > 1 else { return }
        let packed = pack(items.flatMap { [$0.name, $0.value] })
        let hash = Int64(bitPattern: hashed(packed))
        // The maximum of the complement is the complement of the minimum: one reduction finds both ends.
        let ends = try allReduced([hash, ~hash], .maximum)
        if ends[0] == ~ends[1] { return }
        let everyRank = try allGather(packed).map { unpack($0) }
        guard let difference = Difference.first(in: everyRank) else { return }
        throw difference.shared
    }

    /// Makes one rank's error everyone's, so that all ranks end together. Collective.
    ///
    /// - Parameter local: this rank's error; nil when all is well here.
    /// - Throws: on every rank the error of the lowest rank that has one, its place preceded by that rank where there are several.
    public func agreeOnError(_ local: UserError?) throws {
        guard size > 1 else {
            if let local { throw local }
            return
        }
        let first = try allReduced(local == nil ? size : rank, .minimum)
        guard first < size else { return }
        let packed = local.map { pack(["\($0.exitCode.rawValue)", $0.what, $0.place ?? "", $0.advice ?? ""]) } ?? []
        let fields = unpack(try broadcasted(packed, root: first))
        precondition(fields.count == 4, "rank \(first) sent an error of \(fields.count) fields")
        throw UserError(
            Int32(fields[0]).flatMap(ExitCode.init) ?? .software, fields[1], at: fields[2].isEmpty ? "rank \(first)" : "rank \(first), \(fields[2])",
            advice: fields[3].isEmpty ? nil : fields[3]
        ).shared
    }

    /// Runs `body`, in which any rank may fail, on every rank; all go on or all throw. Collective: `body` itself must not wait for other ranks.
    ///
    /// - Throws: what `agreeOnError` throws; an error that is no `UserError` becomes one with exit code 70.
    public func onEveryRank<Value>(_ body: () throws -> Value) throws -> Value {
        let outcome = Result { try body() }
        switch outcome {
        case .success(let value):
            try agreeOnError(nil)
            return value
        case .failure(let error):
            let mine = error as? UserError ?? UserError(.software, "\(error)")
            try agreeOnError(mine)
            throw mine
        }
    }

    /// The largest flag of any rank: how ranks learn at a step boundary that one of them was asked to stop. Collective.
    public func agreeOnFlag(_ flag: Int) throws -> Int {
        size > 1 ? try allReduced(flag, .maximum) : flag
    }
}

/// The first item in which ranks differ, as an error.
private enum Difference {
    /// - Parameter everyRank: names and values in turn, by rank.
    static func first(in everyRank: [[String]]) -> UserError? {
        let tables = everyRank.map { fields in
            Dictionary(stride(from: 0, to: fields.count - 1, by: 2).map { (fields[$0], fields[$0 + 1]) }, uniquingKeysWith: { first, _ in first })
        }
        var names: [String] = []
        var known: Set<String> = []
        for fields in everyRank {
            for index in stride(from: 0, to: fields.count - 1, by: 2) where known.insert(fields[index]).inserted { names.append(fields[index]) }
        }
        let differing = names.filter { name in tables.contains { $0[name] != tables[0][name] } }
        guard let name = differing.first else { return nil }
        return error(name, values: tables.map { $0[name] }, others: differing.count - 1)
    }

    private static func error(_ name: String, values: [String?], others: Int) -> UserError {
        var counts: [String?: Int] = [:]
        for value in values { counts[value, default: 0] += 1 }
        let usual = counts.first { $0.value * 2 > values.count && $0.key != values[0] }?.key
        let reference = usual ?? values[0]
        let outliers = values.indices.filter { values[$0] != reference }
        let same = outliers.filter { values[$0] == values[outliers[0]] }
        let against = usual == nil ? "rank 0" : "the other ranks"
        let verb = same.count == 1 ? "rank \(same[0]) differs" : "ranks \(listed(same)) differ"
        let more = others == 0 ? "" : " (\(others) more \(others == 1 ? "item differs" : "items differ"))"
        return UserError(
            .configuration, "\(verb) from \(against) in \(name): \(quoted(values[same[0]])) there, \(quoted(reference)) on \(against)\(more)",
            advice: "give every rank the same program, configuration and corpus")
    }

    /// Up to eight ranks by number, then how many more.
    private static func listed(_ ranks: [Int]) -> String {
        let shown = ranks.prefix(8).map(String.init)
        if ranks.count > 8 { return shown.joined(separator: ", ") + " and \(ranks.count - 8) more" }
        return shown.dropLast().joined(separator: ", ") + " and " + (shown.last ?? "")
    }

    private static func quoted(_ value: String?) -> String {
        guard let value else { return "nothing" }
        return value.count > 80 ? "\"\(value.prefix(77))...\"" : "\"\(value)\""
    }
}

/// Strings as bytes: each preceded by its length, 8 bytes little-endian.
private func pack(_ strings: [String]) -> [UInt8] {
    strings.flatMap { string in withUnsafeBytes(of: UInt64(string.utf8.count).littleEndian) { Array($0) } + Array(string.utf8) }
}

private func unpack(_ bytes: [UInt8]) -> [String] {
    var strings: [String] = []
    var position = 0
    while position + 8 <= bytes.count {
        let count = (0..<8).reduce(0) { $0 | Int(bytes[position + $1]) << (8 * $1) }
        strings.append(String(decoding: bytes[position + 8..<position + 8 + count], as: UTF8.self))
        position += 8 + count
    }
    return strings
}

/// FNV-1a, 64 bits.
private func hashed(_ bytes: [UInt8]) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
