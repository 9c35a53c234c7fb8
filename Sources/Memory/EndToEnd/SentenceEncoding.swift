// How the words of a sentence are weighted when their embeddings are summed (Sukhbaatar et al. 2015, "End-to-end memory networks", section 4.1).
//
// Legend: D width, J words of a sentence, j a word's place from 1, k a column from 1.

import Tensors

/// The weights l[k, j] of the words of a sentence.
public enum SentenceEncoding: Sendable, Equatable {
    /// All 1: a bag of words.
    case bag
    /// The paper's position encoding: l[k, j] = (1 - j / J) - (k / D) (1 - 2 j / J), J the length of the sentence.
    case position
    /// The form of the authors' released program: l[k, j] = 1 + 4 (k - (D + 1) / 2) (j - (J + 1) / 2) / (D J) with one J for all sentences. Temporal
    /// rows are a last word, at place J. Words from place J on share its weights.
    case releasedPosition(places: Int)
}

/// The weights of all places that occur, as rows of a table; row 0 is all ones.
struct EncodingWeights {
    let encoding: SentenceEncoding
    /// D.
    let width: Int
    /// D rounded up to a multiple of 16: the columns of `table`, those beyond D zero.
    let columns: Int
    /// The longest sentence that `table` has rows for.
    private(set) var longest: Int
    /// [rows, columns].
    private(set) var table: Tensor

    init(_ encoding: SentenceEncoding, width: Int) {
        (self.encoding, self.width, columns) = (encoding, width, (width + 15) / 16 * 16)
        (longest, table) = (0, Tensor(zeros: [1, 16]))
        makeTable(longest: 16)
    }

    /// Sees to it that sentences of `length` words have their rows.
    mutating func require(length: Int) {
        if length > longest { makeTable(longest: max(length, 2 * longest)) }
    }

    /// The row of word `place` (from 0) of a sentence of `length` words.
    @inline(__always)
    func row(place: Int, length: Int) -> Int32 {
        switch encoding {
        case .bag: 0
        case .position: Int32(truncatingIfNeeded: 1 &+ length &* (length &- 1) / 2 &+ place)
        case .releasedPosition(let places): Int32(truncatingIfNeeded: min(place &+ 1, places))
        }
    }

    /// The row of a temporal embedding.
    var timeRow: Int32 {
        if case .releasedPosition(let places) = encoding { Int32(places) } else { 0 }
    }

    private mutating func makeTable(longest: Int) {
        self.longest = longest
        var rows = [[Float](repeating: 1, count: width)]
        let d = Float(width)
        switch encoding {
        case .bag: break
        case .position:
            for length in 1...longest {
                let all = Float(length)
                for place in 1...length {
                    let j = Float(place)
                    rows.append((1...width).map { (1 - j / all) - Float($0) / d * (1 - 2 * j / all) })
                }
            }
        case .releasedPosition(let places):
            let all = Float(places)
            for place in 1...places {
                let j = Float(place)
                rows.append((1...width).map { 1 + 4 * (Float($0) - (d + 1) / 2) * (j - (all + 1) / 2) / (d * all) })
            }
        }
        let result = Tensor(zeros: [rows.count, columns])
        for (row, values) in rows.enumerated() { for (column, value) in values.enumerated() { result.floats[row * columns + column] = value } }
        table = result
    }
}
