// How partial sums of gradients become one, and are rounded, so that fewer bytes of them travel.
//
// Legend: G groups of the batch, K of them a rank's own; N elements of flat memory; q 8-bit integers of a block, s its scale.

import Diagnostics

/// How partial sums of gradients travel along the reproducible tree.
public enum GradientFormat: String, Sendable, CaseIterable, Codable {
    /// As they are: 4 bytes an element.
    case float32
    /// Rounded to bfloat16, to nearest even: 2 bytes an element.
    case bfloat16
    /// 32 elements share a power of two, of which each is a multiple by an integer of 8 bits: 1.03 bytes an element. What rounding leaves of a group's
    /// gradient is added to that group's next one (error feedback).
    ///
    /// - Source: the format is that of MXINT8, Open Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0, 2023, section 5.3;
    ///   error feedback: Seide et al., "1-Bit Stochastic Gradient Descent and Its Application to Data-Parallel Distributed Training of Speech DNNs", 2014.
    case int8

    /// Bytes of an element as it travels, its share of a block's scale included.
    public var bytesPerElement: Double {
        switch self {
        case .float32: 4
        case .bfloat16: 2
        case .int8: 33.0 / 32
        }
    }
    /// Whether elements share a scale, so that only whole blocks can travel.
    public var hasBlocks: Bool { self == .int8 }
    /// Whether groups keep what rounding has left of their gradients.
    public var hasFeedback: Bool { self == .int8 }
}

/// How two nodes of the tree become one.
public enum GradientCombination: String, Sendable, CaseIterable, Codable {
    /// Their sum.
    case sum
    /// Adaptive sums: what two nodes have in common counts once, and what is orthogonal is added. Parts of about 4,096 elements of a parameter are combined
    /// by themselves. Groups bring means over their own lanes.
    ///
    /// - Source: Maleki et al., "Scaling Distributed Training with Adaptive Summation", 2021, section 3.
    case adasum
}

/// Which numbers the nodes of the tree hold: every node's sum is rounded by the same rule on whichever rank it is added up, so that the bits do not
/// depend on how many ranks there are. What travels is then exact.
///
/// A sum of two nodes in 8 bits is rounded up or down at random, with the probabilities that keep its mean: rounded to nearest, small elements would
/// vanish at every node. The random bits depend on the step, the node and the element alone.
public struct GradientRounding {
    /// The numbers that nodes hold.
    public let format: GradientFormat
    /// How two of them become one.
    public let combination: GradientCombination
    /// Runs of elements that cover the flat memory in order: no block of 32 elements spans two. Only messages of whole parts travel.
    let parts: [Range<Int>]
    /// Where what travels may be cut; `nil` for anywhere.
    let cuts: [Int]?
    /// What groups have left over; `nil` for formats without error feedback.
    let residuals: GradientResiduals?
    /// The number of the step, from 1.
    public var step = 0

    /// - Parameters:
    ///   - combination: adaptive sums are of float32 alone.
    ///   - parts: runs of elements that cover the flat memory in order, for formats of blocks and for adaptive sums.
    ///   - residuals: of this rank's groups, for formats with error feedback.
    public init(
        _ format: GradientFormat, _ combination: GradientCombination = .sum, parts: [Range<Int>] = [], residuals: GradientResiduals? = nil
    ) {
        require(combination == .sum || format == .float32, "adaptive sums of \(format.rawValue)")
        (self.format, self.combination, self.parts, self.residuals) = (format, combination, parts, residuals)
        cuts = Self.travelsInParts(format, combination) ? parts.map(\.lowerBound) : nil
    }

    /// Whether only whole parts can travel.
    public static func travelsInParts(_ format: GradientFormat, _ combination: GradientCombination) -> Bool { format.hasBlocks || combination == .adasum }

    /// Sums as the processor adds.
    public static var none: GradientRounding { GradientRounding(.float32) }

    /// Rounds the gradient of a group in place.
    ///
    /// - Parameters:
    ///   - gradients: the flat gradients.
    ///   - group: the group's number among those of this rank, in their order.
    func roundGroup(_ gradients: UnsafeMutablePointer<Float>, _ elements: Range<Int>, group: Int) {
        switch format {
        case .float32: break
        case .bfloat16: BFloat16Sums().round(gradients + elements.lowerBound, count: elements.count)
        case .int8: BlockSums(parts, step: step).roundGroup(gradients, elements) { residuals?.memory(group, $0) }
        }
    }

    /// sum = round(sum + values), the value of a node.
    func add(_ values: UnsafePointer<Float>, to sum: UnsafeMutablePointer<Float>, _ elements: Range<Int>, node: TreeNode) {
        arithmetic.add(values, to: sum, elements, node: node)
    }

    /// What adds two nodes.
    var arithmetic: any TreeArithmetic<Float> {
        switch (format, combination) {
        case (_, .adasum): AdaptiveSums(parts)
        case (.float32, _): PlainSums<Float>()
        case (.bfloat16, _): BFloat16Sums()
        case (.int8, _): BlockSums(parts, step: step)
        }
    }
}

/// What rounding has left of the gradients of a rank's groups, [K, N]: part of what a run saves.
public final class GradientResiduals {
    /// K.
    public let groupCount: Int
    /// The elements of each parameter, rising, with gaps between them.
    private let parameters: [Range<Int>]
    private let values: UnsafeMutableBufferPointer<Float>

    /// Zeros.
    /// - Parameter parameters: the elements of each in flat memory, rising.
    public init(groupCount: Int, parameters: [Range<Int>]) {
        (self.groupCount, self.parameters) = (groupCount, parameters)
        values = .allocate(capacity: groupCount * (parameters.last?.upperBound ?? 0))
        clear()
    }

    deinit { values.deallocate() }

    /// The residuals of a parameter, [K, shape...]: groups in the order in which the rank runs them.
    public func memory(ofParameter index: Int) -> UnsafeMutableBufferPointer<Float> {
        let parameter = parameters[index]
        let first = groupCount * parameter.lowerBound
        return UnsafeMutableBufferPointer(rebasing: values[first..<first + groupCount * parameter.count])
    }

    /// Those of one group from an element on, to the end of its parameter.
    func memory(_ group: Int, _ element: Int) -> UnsafeMutableBufferPointer<Float> {
        let index = parameters.partitioningIndex { $0.lowerBound > element } - 1
        let parameter = parameters[index]
        let row = memory(ofParameter: index)
        return UnsafeMutableBufferPointer(rebasing: row[group * parameter.count + element - parameter.lowerBound..<(group + 1) * parameter.count])
    }

    /// Forgets all.
    public func clear() { values.initialize(repeating: 0) }
}

extension Array {
    /// The first index whose element belongs to the second part of an array in two parts; the count where none does.
    func partitioningIndex(where belongsToSecond: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if belongsToSecond(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
