// Longest common subsequences by dynamic programming, for ROUGE-L and ROUGE-Lsum.
//
// R tokens of the reference, C tokens of the candidate.

/// Scratch space for longest common subsequences.
struct LongestCommonSubsequence {
    private var table: [Int32] = []

    /// The length of a longest common subsequence.
    ///
    /// - Complexity: O(R × C) time, O(C) memory.
    mutating func length(_ reference: [Int32], _ candidate: [Int32]) -> Int {
        if reference.isEmpty || candidate.isEmpty { return 0 }
        reserve(candidate.count + 1)
        return table.withUnsafeMutableBufferPointer { row in
            row[0...candidate.count].update(repeating: 0)
            return candidate.withUnsafeBufferPointer { candidate in
                for token in reference {
                    var diagonal: Int32 = 0
                    var left: Int32 = 0
                    for column in 0..<candidate.count {
                        let up = row[column + 1]
                        left = candidate[column] == token ? diagonal + 1 : max(up, left)
                        row[column + 1] = left
                        diagonal = up
                    }
                }
                return Int(row[candidate.count])
            }
        }
    }

    /// Marks the reference tokens of one longest common subsequence.
    ///
    /// Of several, the one is taken that is read from the table's last corner by going to the previous candidate token only where
    /// that keeps strictly more than going to the previous reference token.
    /// - Parameter marks: set to `true` at the positions of the subsequence, left alone elsewhere; R elements.
    /// - Complexity: O(R × C) time and memory.
    mutating func mark(_ reference: [Int32], _ candidate: [Int32], into marks: inout [Bool]) {
        if reference.isEmpty || candidate.isEmpty { return }
        let width = candidate.count + 1
        reserve((reference.count + 1) * width)
        table.withUnsafeMutableBufferPointer { table in
            table[0..<width].update(repeating: 0)
            candidate.withUnsafeBufferPointer { candidate in
                for (index, token) in reference.enumerated() {
                    let previous = table.baseAddress.unsafelyUnwrapped + index * width
                    let row = previous + width
                    row[0] = 0
                    for column in 0..<candidate.count {
                        row[column + 1] = candidate[column] == token ? previous[column] + 1 : max(previous[column + 1], row[column])
                    }
                }
            }
            var row = reference.count
            var column = candidate.count
            while row > 0, column > 0 {
                if reference[row - 1] == candidate[column - 1] {
                    marks[row - 1] = true
                    row -= 1
                    column -= 1
                } else if table[row * width + column - 1] > table[(row - 1) * width + column] {
                    column -= 1
                } else {
                    row -= 1
                }
            }
        }
    }

    private mutating func reserve(_ count: Int) {
        if table.count < count { table = [Int32](repeating: 0, count: max(count, 2 * table.count)) }
    }
}
