// Rows of a table that n-grams own by hashing (Engram: DeepSeek and Peking University, "Conditional memory via scalable lookup", 2026,
// arXiv 2601.07372, section 2).
//
// Legend: B sequences, T positions, V symbols, U classes of symbols, N the longest order, K heads of an order, M(n, k) rows of a head.

import Diagnostics
import Tensors

/// Which rows of one table the n-grams own that end at a position: of each order 2 ... N, K rows, one in each of K parts of the table.
///
/// With x the classes of symbols and m odd numbers, the n-gram that ends at position t is hashed to
///
///     h(t, n) = (x[t] m[0]) xor (x[t - 1] m[1]) xor ... xor (x[t - n + 1] m[n - 1])    in unsigned 64-bit integers,
///
/// and owns row h mod M(n, k) of the part of order n and head k. The M are different primes: n-grams that share a row of one head seldom share that
/// of another. Before the beginning of a sequence, and of a document, stands the class of padding. Rows are a pure function of the symbols.
public struct NGramAddresses: Sendable, Equatable, Codable {
    /// P: the class of each symbol, [V], each in 0 ..< U.
    public let classes: [Int32]
    /// The class before the beginning.
    public let padding: Int32
    /// m: N odd numbers.
    public let multipliers: [UInt64]
    /// M, order after order, of each K heads: (N - 1) K different primes.
    public let moduli: [Int]
    /// K.
    public let heads: Int

    /// Takes what was drawn before, such as what a checkpoint holds.
    public init(classes: [Int32], padding: Int32, multipliers: [UInt64], moduli: [Int], heads: Int) {
        require(
            heads > 0 && multipliers.count > 1 && moduli.count == (multipliers.count - 1) * heads && moduli.allSatisfy { $0 > 1 },
            "\(moduli.count) parts for \(multipliers.count - 1) orders of \(heads) heads")
        (self.classes, self.padding, self.multipliers, self.moduli, self.heads) = (classes, padding, multipliers, moduli, heads)
    }

    /// Draws multipliers, and chooses as moduli the primes from `rows` on that are not taken.
    ///
    /// - Parameters:
    ///   - order: N, at least 2.
    ///   - rows: about how many rows a head has.
    ///   - seed: of the run.
    ///   - layer: of the model, so that layers hash differently.
    ///   - taken: primes that other heads have; gets these.
    public init(classes: [Int32], padding: Int32, order: Int, heads: Int, rows: Int, seed: UInt64, layer: Int, taken: inout Set<Int>) {
        require(order > 1 && heads > 0 && rows > 1, "n-grams up to \(order) of \(heads) heads with \(rows) rows")
        var state = seed &+ 10_007 &* UInt64(layer)
        // Products of a class and a multiplier stay below 2^63.
        let largest = (UInt64(1) << 62) / (UInt64(classes.max() ?? 0) + 2)
        let multipliers = (0..<order).map { _ -> UInt64 in
            defer { state &+= 0x9e37_79b9_7f4a_7c15 }
            return 2 * (mixBits(state) % largest) + 1
        }
        var (moduli, candidate): ([Int], Int) = ([], rows)
        while moduli.count < (order - 1) * heads {
            if Self.isPrime(candidate), taken.insert(candidate).inserted { moduli.append(candidate) }
            candidate += 1
        }
        self.init(classes: classes, padding: padding, multipliers: multipliers, moduli: moduli, heads: heads)
    }

    /// N.
    public var order: Int { multipliers.count }
    /// Rows that a position reads, (N - 1) K.
    public var count: Int { moduli.count }
    /// Rows of the table.
    public var rows: Int { moduli.reduce(0, +) }

    /// The rows at every position: int32 [B, T, (N - 1) K].
    ///
    /// - Parameters:
    ///   - symbols: int32 [B, T].
    ///   - before: the classes of the N - 1 positions before each sequence, oldest first, [B, N - 1]; empty where all of them begin.
    ///   - resets: [B, T], true where a document begins; empty for nowhere.
    /// - Complexity: B T N (K + 1) integer operations.
    public func rows(of symbols: Tensor, before: [Int32] = [], resets: [Bool] = []) -> Tensor {
        let (batch, length, past) = (symbols.shape[0], symbols.shape[1], order - 1)
        require(before.isEmpty || before.count == batch * past, "\(before.count) classes before \(batch) sequences")
        require(resets.isEmpty || resets.count == batch * length, "\(resets.count) resets of \(batch) x \(length) positions")
        let starts = moduli.indices.map { moduli[..<$0].reduce(0, +) }
        let result = Tensor(uninitialized: [batch, length, count], .int32)
        var window = [Int32](repeating: padding, count: order)
        for b in 0..<batch {
            // Newest first.
            for i in 0..<past { window[i] = before.isEmpty ? padding : before[b * past + past - 1 - i] }
            for t in 0..<length {
                let place = b * length + t
                if !resets.isEmpty, resets[place] { for i in window.indices { window[i] = padding } }
                for i in stride(from: past, to: 0, by: -1) { window[i] = window[i - 1] }
                let symbol = Int(symbols.integers[place])
                require(symbol >= 0 && symbol < classes.count, "symbol \(symbol) of \(classes.count)")
                window[0] = classes[symbol]
                var hash = UInt64(window[0]) &* multipliers[0]
                for n in 1..<order {
                    hash ^= UInt64(window[n]) &* multipliers[n]
                    for k in 0..<heads {
                        let part = (n - 1) * heads + k
                        result.integers[place * count + part] = Int32(starts[part] + Int(hash % UInt64(moduli[part])))
                    }
                }
            }
        }
        return result
    }

    /// The rows at one more position: int32 [B, 1, (N - 1) K].
    /// - Parameters:
    ///   - symbols: the new symbol of each sequence, [B].
    ///   - earlier: the symbols that each sequence has read, all of them or at least the last N - 1.
    public func rows(ofNext symbols: [Int32], after earlier: [[Int32]]) -> Tensor {
        let past = order - 1
        let before = earlier.flatMap { sequence in
            [Int32](repeating: padding, count: max(0, past - sequence.count)) + sequence.suffix(past).map { classes[Int($0)] }
        }
        return rows(of: Tensor(symbols, [symbols.count, 1]), before: before)
    }

    private static func isPrime(_ number: Int) -> Bool {
        if number < 4 { return number > 1 }
        if number % 2 == 0 { return false }
        var divisor = 3
        while divisor * divisor <= number {
            if number % divisor == 0 { return false }
            divisor += 2
        }
        return true
    }
}
