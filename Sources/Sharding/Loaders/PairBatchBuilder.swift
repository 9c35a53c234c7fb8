// From pair numbers to padded rows. Letters: B rows, S source positions, U target positions, T positions of a prompt row.

import Corpora
import Diagnostics

/// Limits of a row's length.
public struct PairLimits: Sendable, Equatable {
    /// The largest S; for prompts the largest T.
    public var maximumSourceLength: Int
    /// The largest U, which counts the end piece.
    public var maximumTargetLength: Int
    /// What is cut from a long source. Of a target the end is cut.
    public var truncatedSide: TruncatedSide

    /// - Parameters:
    ///   - maximumSourceLength: the largest S, at least 1; for prompts the largest T, at least 4.
    ///   - maximumTargetLength: the largest U, at least 1.
    public init(maximumSourceLength: Int = .max, maximumTargetLength: Int = .max, truncatedSide: TruncatedSide = .end) {
        precondition(maximumSourceLength >= 1 && maximumTargetLength >= 1, "rows of at most \(maximumSourceLength) and \(maximumTargetLength) tokens")
        self.maximumSourceLength = maximumSourceLength
        self.maximumTargetLength = maximumTargetLength
        self.truncatedSide = truncatedSide
    }

    /// The part of a source of `count` tokens that is kept when `limit` tokens may be.
    func keptSource(_ count: Int, limit: Int) -> Range<Int> {
        guard count > limit else { return 0..<count }
        return truncatedSide == .end ? 0..<limit : count - limit..<count
    }
}

extension PairLimits {
    /// Whether a pair loses tokens.
    /// - Parameter inOneRow: as in `promptBatch`, instead of `pairBatch`.
    func cuts(source: Int, target: Int, inOneRow: Bool) -> Bool {
        let room = inOneRow ? min(maximumTargetLength - 1, maximumSourceLength - 2) : maximumTargetLength - 1
        return target > room || source > (inOneRow ? maximumSourceLength - 1 - min(target, room) : maximumSourceLength)
    }
}

extension Corpus {
    /// How many of some pairs lose tokens to limits.
    /// - Parameters:
    ///   - pairs: numbers; -1 stands for none.
    ///   - inOneRow: as in `promptBatch`, instead of `pairBatch`.
    /// - Throws: `UserError` where a shard is damaged or missing.
    /// - Complexity: nothing where the longest pair fits; else a look at each pair.
    public func cutPairs(among pairs: some Sequence<Int>, limits: PairLimits, inOneRow: Bool) throws -> Int {
        let longest = manifest.counts
        guard limits.cuts(source: longest.longestSource, target: longest.longestTarget, inOneRow: inOneRow) else { return 0 }
        var count = 0
        for pair in pairs where pair >= 0 {
            let sizes = try pairSizes(pair)
            if limits.cuts(source: sizes.source, target: sizes.target, inOneRow: inOneRow) { count += 1 }
        }
        return count
    }

    /// Rows of pairs for an encoder and a decoder.
    ///
    /// - Parameters:
    ///   - pairs: numbers of pairs, B; -1 for a row without a pair.
    ///   - lanes: the lane of each row, B.
    ///   - limits: lengths beyond which tokens are cut off.
    /// - Throws: `UserError` where a shard is damaged or missing.
    public func pairBatch(_ pairs: [Int], lanes: [Int], limits: PairLimits) throws -> PairBatch {
        precondition(pairs.count == lanes.count, "\(pairs.count) pairs for \(lanes.count) lanes")
        let sizes = try pairs.map { $0 < 0 ? nil : try pairSizes($0) }
        let sources = sizes.map { limits.keptSource($0?.source ?? 0, limit: limits.maximumSourceLength) }
        let targets = sizes.map { min($0?.target ?? 0, limits.maximumTargetLength - 1) }
        let (rows, length, targetLength) = (pairs.count, max(1, sources.map(\.count).max() ?? 1), (targets.max() ?? 0) + 1)
        var batch = PairBatch(
            lanes: lanes, sourceLength: length, targetLength: targetLength, sources: Array(repeating: paddingID, count: rows * length),
            // A row without a source still has one (padding) token to look at: attention over nothing is not a number.
            sourceLengths: sources.map { max(1, $0.count) },
            targetInputs: Array(repeating: paddingID, count: rows * targetLength),
            targetOutputs: Array(repeating: ignoredTarget, count: rows * targetLength),
            targetLengths: Array(repeating: 0, count: rows), labels: sizes.map { $0?.label ?? -1 }, pairIndices: pairs,
            words: sizes.map { $0?.words ?? 0 }, targetCount: 0)
        for (row, pair) in pairs.enumerated() {
            guard sizes[row] != nil else { continue }
            try batch.sources.withUnsafeMutableBufferPointer { try copySource(pair, sources[row], to: $0.baseAddress! + row * length) }
            let (start, count) = (row * targetLength, targets[row])
            try batch.targetOutputs.withUnsafeMutableBufferPointer { try copyTarget(pair, 0..<count, to: $0.baseAddress! + start) }
            batch.targetInputs[start] = beginningID
            for u in 0..<count { batch.targetInputs[start + u + 1] = batch.targetOutputs[start + u] }
            batch.targetOutputs[start + count] = endID
            batch.targetLengths[row] = count + 1
            batch.targetCount += count + 1
        }
        return batch
    }

    /// Rows of pairs for a decoder alone: source, beginning piece, target, end piece.
    ///
    /// - Parameters:
    ///   - pairs: numbers of pairs, B; -1 for a row without a pair.
    ///   - lanes: the lane of each row, B.
    ///   - limits: `maximumSourceLength` bounds the whole row. A long source is cut first, down to one token; then the target.
    /// - Throws: `UserError` where a shard is damaged or missing.
    public func promptBatch(_ pairs: [Int], lanes: [Int], limits: PairLimits) throws -> PromptBatch {
        precondition(pairs.count == lanes.count, "\(pairs.count) pairs for \(lanes.count) lanes")
        precondition(limits.maximumSourceLength >= 4, "a prompt row of at most \(limits.maximumSourceLength) tokens")
        let sizes = try pairs.map { $0 < 0 ? nil : try pairSizes($0) }
        let shapes = sizes.map { size -> (source: Range<Int>, target: Int) in
            guard let size else { return (0..<0, 0) }
            let target = min(size.target, limits.maximumTargetLength - 1, limits.maximumSourceLength - 2)
            return (limits.keptSource(size.source, limit: limits.maximumSourceLength - 1 - target), target)
        }
        let (rows, length) = (pairs.count, max(1, shapes.map { $0.source.count + 1 + $0.target }.max() ?? 1))
        var batch = PromptBatch(
            lanes: lanes, length: length, inputs: Array(repeating: paddingID, count: rows * length),
            targets: Array(repeating: ignoredTarget, count: rows * length), lengths: Array(repeating: 0, count: rows),
            promptLengths: Array(repeating: 0, count: rows), labels: sizes.map { $0?.label ?? -1 }, pairIndices: pairs,
            words: sizes.map { $0?.words ?? 0 }, targetCount: 0)
        for (row, pair) in pairs.enumerated() {
            guard sizes[row] != nil else { continue }
            let (source, count) = shapes[row]
            let prompt = row * length + source.count
            try batch.inputs.withUnsafeMutableBufferPointer { inputs in
                try copySource(pair, source, to: inputs.baseAddress! + row * length)
                inputs[prompt] = beginningID
                try copyTarget(pair, 0..<count, to: inputs.baseAddress! + prompt + 1)
            }
            for u in 0..<count { batch.targets[prompt + u] = batch.inputs[prompt + 1 + u] }
            batch.targets[prompt + count] = endID
            batch.lengths[row] = source.count + 1 + count
            batch.promptLengths[row] = source.count + 1
            batch.targetCount += count + 1
        }
        return batch
    }
}
