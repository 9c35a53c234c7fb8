// Sums over parts of a work that is dealt out to ranks, added in the order of the parts: the same bits on any number of ranks.
//
// Legend: P parts, W numbers of each.

import Diagnostics

/// A work that stopped because any rank was asked to stop. Every rank throws it.
public struct Interrupted: Error {
    public init() {}
}

extension Communicator {
    /// The sum over P parts of W numbers each. Collective; rank r measures the parts r, r + size, r + 2 size, ...
    ///
    /// - Parameters:
    ///   - parts: P, the same on every rank.
    ///   - width: W.
    ///   - measure: the numbers of one part, which must not depend on the rank.
    /// - Throws: what `measure` throws, on every rank.
    /// - Complexity: every rank receives 8 P W bytes.
    public func orderedSum(parts: Int, width: Int, _ measure: (_ part: Int) throws -> [Double]) throws -> [Double] {
        var own: [Double] = []
        try inRounds(parts: parts) { part in
            let numbers = try measure(part)
            precondition(numbers.count == width, "part \(part) has \(numbers.count) numbers, not \(width)")
            own += numbers
        }
        let everyRank = try allGather(own.withUnsafeBytes { Array($0) }).map { bytes in
            bytes.withUnsafeBytes { Array($0.bindMemory(to: Double.self)) }
        }
        var sums = [Double](repeating: 0, count: width)
        for part in 0..<parts {
            let first = part / size * width
            for index in 0..<width { sums[index] += everyRank[part % size][first + index] }
        }
        return sums
    }

    /// Deals parts of a work out to the ranks, one to each in every round. Collective; rank r does the parts r, r + size, r + 2 size, ...
    ///
    /// - Throws: what `body` throws, on every rank; ``Interrupted`` on every rank once any has a request to stop, where the communicator asks for
    ///   such requests (``interruption``).
    /// - Complexity: a reduction of one integer a round where requests are asked for, else one at the end.
    public func inRounds(parts: Int, _ body: (_ part: Int) throws -> Void) throws {
        var failure: (any Error)?
        for first in stride(from: 0, to: parts, by: size) where failure == nil || interruption != nil {
            let part = first + rank
            if part < parts, failure == nil {
                do {
                    try Failpoint.evaluationBatch.pass()
                    try body(part)
                } catch { failure = error }
            }
            guard let interruption else { continue }
            let flag = try allReduced(failure != nil ? 2 : interruption() ? 1 : 0, .maximum)
            if flag == 2 { break }
            if flag == 1 { throw Interrupted() }
        }
        try onEveryRank { if let failure { throw failure } }
    }
}
