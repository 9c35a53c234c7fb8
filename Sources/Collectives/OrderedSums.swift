// Sums over parts of a work that is dealt out to ranks, added in the order of the parts: the same bits on any number of ranks.
//
// Legend: P parts, W numbers of each.

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
        let own = try onEveryRank {
            try stride(from: rank, to: parts, by: size).flatMap { part in
                let numbers = try measure(part)
                precondition(numbers.count == width, "part \(part) has \(numbers.count) numbers, not \(width)")
                return numbers
            }
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
}
