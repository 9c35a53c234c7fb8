// Which rank updates which parameters.
//
// Legend: P ranks, N parameters in flat memory.

import Collectives
import Optimizers
import Tensors

/// The parameters in parts of about 4,096 elements that begin at rows, fixed by the model alone: the norm of a gradient is summed part by part in their
/// order. Where ranks share out the optimizer's state, each updates whole parts.
///
/// - Source: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020, stage 1.
package struct ParameterPartition {
    /// Parameters that this rank updates, with the place of their state.
    struct Piece {
        let parameter: Int
        var range: ParameterRange
    }

    /// The parts, which cover the flat memory: gradients between two parameters are 0.
    package let parts: [Range<Int>]
    /// The parameter that each part is of.
    let parameterOfPart: [Int]
    /// The parts that this rank sums and updates.
    let ownParts: [Int]
    /// What this rank updates, in order: a whole parameter, or runs of its rows.
    let pieces: [Piece]
    /// Whether ranks share out the state.
    let isShared: Bool
    /// What travels together, in the order of `GradientBuckets`.
    let buckets: GradientBuckets
    /// Where the flat memory may be cut.
    let cuts: [Int]

    /// - Parameters:
    ///   - store: the parameters, allocated.
    ///   - tree: the tree along which ranks that share the state out sum their gradients; `nil` where each rank has all of it.
    ///   - rank: this rank.
    ///   - bucketBytes: the size of what travels together.
    ///   - travelsInParts: whether only whole parts travel.
    package init(
        _ store: ParameterStore, sharedAlong tree: ReproducibleTree? = nil, rank: Int = 0, bucketBytes: Int = BucketSize.usual, travelsInParts: Bool = false
    ) {
        let parameters = store.parameters
        let tree = tree.flatMap { $0.size > 1 ? $0 : nil }
        var (parts, owners): ([Range<Int>], [Int]) = ([], [])
        for parameter in parameters {
            let end = parameter.index + 1 < parameters.count ? parameters[parameter.index + 1].offset : store.flatCount
            let width = Self.rowWidth(of: parameter)
            let step = max(1, 4096 / max(1, width)) * max(1, width)
            for first in stride(from: 0, to: max(1, parameter.shape.count), by: step) {
                let isLast = first + step >= parameter.shape.count
                parts.append(parameter.offset + first..<(isLast ? end : parameter.offset + first + step))
                owners.append(parameter.index)
            }
        }
        (self.parts, parameterOfPart, isShared) = (parts, owners, tree != nil)
        cuts = parts.map(\.lowerBound)
        let elements = parameters.map { $0.offset..<$0.offset + $0.shape.count }
        buckets = GradientBuckets(ranges: elements, bucketBytes: bucketBytes, cuts: tree == nil && !travelsInParts ? nil : cuts)
        guard let tree else {
            ownParts = Array(parts.indices)
            pieces = parameters.map {
                Piece(parameter: $0.index, range: ParameterRange(offset: $0.offset, count: $0.shape.count, decays: $0.decays, isTable: $0.isTable))
            }
            return
        }
        let own = buckets.buckets.map { [cuts] in tree.part(ofRank: rank, of: $0, cuts: cuts) }.filter { !$0.isEmpty }.sorted { $0.lowerBound < $1.lowerBound }
        ownParts = parts.indices.filter { part in own.contains { $0.contains(parts[part].lowerBound) } }
        var pieces: [Piece] = []
        var state = 0
        for part in ownParts {
            let parameter = parameters[owners[part]]
            let elements = parts[part].clamped(to: elements[parameter.index])
            if let last = pieces.last, last.parameter == parameter.index, last.range.offset + last.range.count == elements.lowerBound {
                pieces[pieces.count - 1].range.count += elements.count
            } else if !elements.isEmpty {
                pieces.append(
                    Piece(
                        parameter: parameter.index,
                        range: ParameterRange(
                            offset: elements.lowerBound, count: elements.count, stateOffset: state, decays: parameter.decays, isTable: parameter.isTable)))
            }
            state += elements.count
        }
        self.pieces = pieces
    }

    private static func rowWidth(of parameter: Parameter) -> Int {
        parameter.shape.rank == 0 ? 1 : parameter.shape.count / max(1, parameter.shape.array[0])
    }

    /// Parameters whose state this rank has; with all of them, the flat memory's elements.
    ///
    /// - Parameter store: the store that the partition is of.
    package func stateCount(_ store: ParameterStore) -> Int { isShared ? max(1, pieces.reduce(0) { $0 + $1.range.count }) : store.flatCount }

    /// Where this rank's state of a parameter lies in the slots, and of which rows it is; `nil` for all of them.
    func state(of parameter: Parameter) -> (elements: Range<Int>, rows: [Range<Int>]?) {
        guard isShared else { return (parameter.offset..<parameter.offset + parameter.shape.count, nil) }
        let own = pieces.filter { $0.parameter == parameter.index }.map(\.range)
        guard let first = own.first else { return (0..<0, []) }
        let width = max(1, Self.rowWidth(of: parameter))
        return (
            first.stateOffset..<first.stateOffset + own.reduce(0) { $0 + $1.count },
            own.map { ($0.offset - parameter.offset) / width..<($0.offset - parameter.offset + $0.count) / width }
        )
    }

    /// The sum of squared gradients of every part. Collective where ranks share the state out, each of which sums its own parts.
    ///
    /// - Parameters:
    ///   - gradients: the flat gradients.
    ///   - rows: the gradients that are rows, by parameter.
    func squares(of gradients: UnsafeBufferPointer<Float>, rows: [ParameterRange], _ communicator: any Communicator) throws -> [Double] {
        let own = gradientSquares(of: gradients, ranges: rows, parts: ownParts.map { parts[$0] })
        guard isShared else { return own }
        var all = [Double](repeating: 0, count: parts.count)
        for (part, sum) in zip(ownParts, own) { all[part] = sum }
        return try communicator.allReduced(all, .sum)
    }
}
