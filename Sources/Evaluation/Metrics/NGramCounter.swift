// Counting n-grams that a hypothesis shares with its references.

/// The n-grams of a few sequences, order by order.
///
/// Every n-gram gets a dense number, its name; the name of an (n+1)-gram comes from the pair of the n-gram's name and
/// the symbol that follows it, so that an order costs one table look-up a position whatever n is.
struct NGramCounter {
    /// The current order, from 1.
    private(set) var order = 1
    private var symbols: [Int32] = []
    private var names: [Int32] = []
    /// Sequence s is `starts[s] ..< starts[s + 1]`.
    private var starts: [Int] = [0]
    private var keys: [UInt64] = []
    private var values: [Int32] = []
    private var limits: [Int32] = []
    private var current: [Int32] = []

    /// Begins with unigrams of new sequences, replacing the old ones.
    ///
    /// - Parameter sequences: non-negative symbols: token numbers, Unicode scalars.
    /// - Complexity: O(total length).
    mutating func begin(_ sequences: [[Int32]]) {
        order = 1
        symbols.removeAll(keepingCapacity: true)
        starts = [0]
        for sequence in sequences {
            symbols += sequence
            starts.append(symbols.count)
        }
        if keys.count < capacity {
            keys = [UInt64](repeating: 0, count: capacity)
            values = [Int32](repeating: -1, count: capacity)
        }
        if limits.count < symbols.count {
            limits = [Int32](repeating: 0, count: symbols.count)
            current = limits
        }
        names = symbols
        rename(following: nil)
    }

    /// Goes on to n-grams of the next order.
    ///
    /// - Complexity: O(total length).
    mutating func advance() {
        let length = order
        order += 1
        rename(following: length)
    }

    /// The number of n-grams in a sequence.
    func count(in sequence: Int) -> Int {
        positions(of: sequence).count
    }

    /// The n-grams of one sequence that references have too, each counted at most as often as in the reference that has it most often.
    ///
    /// - Complexity: O(length of the sequences named).
    mutating func clippedMatches(of hypothesis: Int, against references: Range<Int>) -> Int {
        let hypothesisPositions = positions(of: hypothesis)
        if hypothesisPositions.isEmpty { return 0 }
        let referencePositions = references.map(positions(of:))
        var matches = 0
        names.withUnsafeBufferPointer { names in
            limits.withUnsafeMutableBufferPointer { limits in
                current.withUnsafeMutableBufferPointer { current in
                    for positions in referencePositions {
                        for position in positions {
                            let name = Int(names[position])
                            current[name] += 1
                            limits[name] = max(limits[name], current[name])
                        }
                        for position in positions { current[Int(names[position])] = 0 }
                    }
                    for position in hypothesisPositions {
                        let name = Int(names[position])
                        if limits[name] > 0 {
                            limits[name] -= 1
                            matches += 1
                        }
                    }
                    for positions in referencePositions {
                        for position in positions { limits[Int(names[position])] = 0 }
                    }
                }
            }
        }
        return matches
    }

    private func positions(of sequence: Int) -> Range<Int> {
        let start = starts[sequence]
        return start..<max(start, starts[sequence + 1] - order + 1)
    }

    /// Names the n-gram at every position: after its symbol alone, or after its former name and the symbol `distance` positions on.
    private mutating func rename(following distance: Int?) {
        let mask = capacity - 1
        let ranges = (0..<(starts.count - 1)).map(positions(of:))
        symbols.withUnsafeBufferPointer { symbols in
            names.withUnsafeMutableBufferPointer { names in
                keys.withUnsafeMutableBufferPointer { keys in
                    values.withUnsafeMutableBufferPointer { values in
                        values[0...mask].update(repeating: -1)
                        var next: Int32 = 0
                        for position in ranges.joined() {
                            var wanted = UInt64(UInt32(bitPattern: symbols[position + (distance ?? 0)]))
                            if distance != nil { wanted |= UInt64(UInt32(bitPattern: names[position])) << 32 }
                            var slot = Int(truncatingIfNeeded: (wanted &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
                            while values[slot] >= 0, keys[slot] != wanted { slot = (slot + 1) & mask }
                            if values[slot] < 0 {
                                keys[slot] = wanted
                                values[slot] = next
                                next += 1
                            }
                            names[position] = values[slot]
                        }
                    }
                }
            }
        }
    }

    /// Slots of the hash table that are in use: a power of two, at least twice the symbols.
    private var capacity: Int {
        max(16, symbols.count * 2).nextPowerOfTwo
    }
}

extension Int {
    /// The least power of two that is not smaller.
    fileprivate var nextPowerOfTwo: Int {
        self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount)
    }
}
