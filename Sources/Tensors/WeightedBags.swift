// Bags of symbols as weighted sums of the rows of a table.
//
// Legend: n bags, S symbols of all bags together, V rows of the table, D width.

import Diagnostics
import Kernels

/// Consecutive runs of elements, each of its own length: no element is padding.
public struct Segments {
    /// int32 [n + 1]: segment i is `starts[i] ..< starts[i + 1]`.
    let starts: Tensor

    /// The number of segments, n.
    public var count: Int { starts.count - 1 }
    /// The elements of all segments together.
    public var total: Int { Int(starts.integers[count]) }

    /// - Parameter starts: n + 1 places, the first one 0, none below the one before it.
    public init(starts: [Int32]) {
        require(starts.first == 0, "segments start at 0")
        require(zip(starts, starts.dropFirst()).allSatisfy { $0 <= $1 }, "segments that run backwards")
        self.starts = Tensor(starts, [starts.count])
    }

    /// The elements of one segment.
    @inline(__always)
    public subscript(index: Int) -> Range<Int> { Int(starts.integers[index])..<Int(starts.integers[index + 1]) }
}

/// n bags of symbols with a weight for each symbol, one bag after the other. A bag may be empty.
public struct WeightedBags {
    /// Which symbols belong to which bag.
    public let segments: Segments
    /// int32 [S].
    let symbols: Tensor
    /// float32 [S].
    let weights: Tensor

    /// The number of bags, n.
    public var count: Int { segments.count }

    /// - Parameters:
    ///   - starts: bag i is `starts[i] ..< starts[i + 1]` of the others; n + 1 places.
    ///   - symbols: rows of the table.
    ///   - weights: one for each symbol.
    public init(starts: [Int32], symbols: [Int32], weights: [Float]) {
        segments = Segments(starts: starts)
        require(
            symbols.count == segments.total && weights.count == symbols.count,
            "\(symbols.count) symbols and \(weights.count) weights in bags of \(segments.total)")
        self.symbols = Tensor(symbols, [symbols.count])
        self.weights = Tensor(weights, [weights.count])
    }
}

/// The weighted sum of table rows of each bag, in one pass over its symbols.
///
/// - Parameters:
///   - table: [V, D], float32.
///   - bags: n bags of symbols below V.
/// - Returns: [n, D]; an empty bag is 0.
/// - Complexity: 2 S D flops forward and backward; the gradient touches the rows of the symbols only, in their order.
public func sumBags(_ table: Tensor, _ bags: WeightedBags) -> Tensor {
    require(table.shape.rank == 2, "sumBags: the table has shape \(table.shape), not [V, D]")
    let (size, width) = (table.shape[0], table.shape[1])
    let (symbol, weight) = (bags.symbols.integers, bags.weights.floats)
    for i in 0..<bags.symbols.count {
        require(symbol[i] >= 0 && symbol[i] < size, "sumBags: symbol \(symbol[i]) of a table of \(size) rows")
    }
    let y = Tensor(uninitialized: [bags.count, width])
    let (source, target) = (table.floats, y.floats)
    parallelRows(bags.count, columns: 4 * width) { first, rows in
        for bag in first..<first + rows {
            let row = target + bag * width
            let range = bags.segments[bag]
            guard let start = range.first else {
                kernels.fill(row, 0, width)
                continue
            }
            kernels.affine(row, source + Int(symbol[start]) * width, scale: weight[start], offset: 0, width)
            for i in range.dropFirst() { kernels.addScaled(row, source + Int(symbol[i]) * width, scale: weight[i], width) }
        }
    }
    return Operation("sum bags").record(y, from: table) { [node = table.node] gradient in
        node?.withZeroedGradient { target in
            let (symbol, weight) = (bags.symbols.integers, bags.weights.floats)
            for bag in 0..<bags.count {
                for i in bags.segments[bag] {
                    kernels.addScaled(target + Int(symbol[i]) * width, gradient.floats + bag * width, scale: weight[i], width)
                }
            }
        }
    }
}
