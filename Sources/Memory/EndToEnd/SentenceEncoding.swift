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
///
/// With position encoding a sentence's weights depend on its length: a length has rows from the first sentence that has it on. The table so never
/// has more rows than words were read, whatever the lengths are.
struct EncodingWeights {
    private let encoding: SentenceEncoding
    /// D.
    private let width: Int
    /// D rounded up to a multiple of 16: the columns of `table`, those beyond D zero.
    private let columns: Int
    /// Position encoding: the row of the first word of sentences of each length, -1 for lengths without rows.
    private var firstRows: [Int32] = []
    /// [rows, columns].
    private(set) var table: Tensor

    init(_ encoding: SentenceEncoding, width: Int) {
        (self.encoding, self.width, columns) = (encoding, width, (width + 15) / 16 * 16)
        table = Tensor(zeros: [0, columns])
        append(1) { _, _ in 1 }
        guard case .releasedPosition(let places) = encoding else { return }
        let (d, all) = (Float(width), Float(places))
        append(places) { j, k in 1 + 4 * (k - (d + 1) / 2) * (j - (all + 1) / 2) / (d * all) }
    }

    /// Sees to it that sentences have the rows of their lengths. `starts` holds where each begins among the words, and the end of the last.
    mutating func require(_ starts: [Int32]) {
        guard encoding == .position else { return }
        for index in starts.indices.dropFirst() {
            let length = Int(starts[index] - starts[index - 1])
            if length >= firstRows.count { firstRows += [Int32](repeating: -1, count: length + 1 - firstRows.count) }
            if firstRows[length] >= 0 { continue }
            firstRows[length] = Int32(table.shape[0])
            let (d, all) = (Float(width), Float(length))
            append(length) { j, k in (1 - j / all) - k / d * (1 - 2 * j / all) }
        }
    }

    /// The row of word `place` (from 0) of a sentence of `length` words.
    @inline(__always)
    func row(place: Int, length: Int) -> Int32 {
        switch encoding {
        case .bag: 0
        case .position: firstRows[length] &+ Int32(truncatingIfNeeded: place)
        case .releasedPosition(let places): Int32(truncatingIfNeeded: min(place &+ 1, places))
        }
    }

    /// The row of a temporal embedding.
    var timeRow: Int32 {
        if case .releasedPosition(let places) = encoding { Int32(places) } else { 0 }
    }

    /// Adds rows for the words j = 1 ... count, of the weights l[k, j].
    private mutating func append(_ count: Int, _ weight: (_ j: Float, _ k: Float) -> Float) {
        let known = table.shape[0]
        let grown = Tensor(zeros: [known + count, columns])
        grown.floats.update(from: table.floats, count: known * columns)
        for j in 0..<count { for k in 0..<width { grown.floats[(known + j) * columns + k] = weight(Float(j + 1), Float(k + 1)) } }
        table = grown
    }
}
