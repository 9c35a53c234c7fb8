// How rows that leave a memory become fewer, and what that is learned from.
//
// Legend: B sequences, T positions, G groups of c rows that leave, D width.

import NeuralNetworks
import Tensors

/// What makes one row of c.
public enum CompressionFunction: String, Sendable, CaseIterable {
    /// A convolution over c rows in steps of c.
    case convolution
    /// The same over every other row of 2 c - 1, so that what each sees overlaps with the next.
    case dilatedConvolution = "dilated-convolution"
    /// The mean of c rows.
    case meanPooling = "mean-pooling"
    /// The maximum of c rows, unit by unit.
    case maxPooling = "max-pooling"
    /// The rows that have received the most attention, one for each c that leave.
    case mostUsed = "most-used"

    /// Those with parameters.
    public static let learned = [CompressionFunction.convolution, .dilatedConvolution]
    /// Whether it has parameters.
    public var isLearned: Bool { Self.learned.contains(self) }

    /// The rows that each of the results is made of, counted from the first of its group.
    /// - Parameter rate: c.
    public func offsets(_ rate: Int) -> [Int] { (0..<rate).map { self == .dilatedConvolution ? 2 * $0 : $0 } }

    /// How many rows past its group it looks at.
    public func reach(_ rate: Int) -> Int { self == .dilatedConvolution ? rate - 1 : 0 }
}

/// What a compression with parameters learns from.
public enum CompressionLoss: String, Sendable, CaseIterable {
    /// What the layer's queries read of the rows, they should read of what was made of them.
    case attention
    /// The rows should be made again of what was made of them.
    case autoEncoding = "auto-encoding"
}

/// Makes one row of c. What it learns it learns from a loss of its own, which reaches nothing else; and no other loss reaches it.
///
/// - Source: Rae et al., "Compressive Transformers for Long-Range Sequence Modelling", 2019, sections 3.1 and 3.2.
public struct MemoryCompression {
    /// What makes one row of c.
    public let function: CompressionFunction
    /// c.
    public let rate: Int
    /// c D to D: a convolution whose kernel and stride are c, as rows lie side by side.
    private let convolution: Linear?
    /// D to c D, from a row back to those that it was made of.
    private let decoder: Linear?

    /// Declares `path.convolution` for a function with parameters, and `path.decoder` where rows are to be made again; Xavier-uniform, biases 0.
    public init(_ store: ParameterStore, _ path: String, width: Int, rate: Int, function: CompressionFunction, loss: CompressionLoss) {
        (self.function, self.rate) = (function, rate)
        convolution =
            function.isLearned
            ? Linear(store, "\(path).convolution", inputs: rate * width, outputs: width, initializer: .xavierUniform) : nil
        decoder =
            function.isLearned && loss == .autoEncoding
            ? Linear(store, "\(path).decoder", inputs: width, outputs: rate * width, initializer: .xavierUniform) : nil
    }

    /// One row for each group: [B, G, D], on the pass's tape where there are parameters. Rows of groups that a sequence has not mean nothing.
    /// - Parameter use: the attention that each row has received, on average, [B, N]; `nil` where nobody asks for it.
    public func callAsFunction(_ leaving: LeavingRows, use: Tensor?, _ pass: ForwardPass) -> Tensor {
        if let convolution {
            let windows = leaving.windows(function.offsets(rate))
            return convolution(convert(windows, to: convolution.weight.activationType), pass)
        }
        if function == .mostUsed {
            guard let use else { fatalError("rows are chosen by their use, and nobody has counted it") }
            return mostUsed(leaving, use)
        }
        return pooled(leaving)
    }

    private func pooled(_ leaving: LeavingRows) -> Tensor {
        let (windows, width) = (leaving.windows(function.offsets(rate)), leaving.rows.shape[2])
        let result = Tensor(uninitialized: [windows.shape[0], windows.shape[1], width])
        for group in 0..<windows.shape[0] * windows.shape[1] {
            let (target, source) = (result.floats + group * width, windows.floats + group * rate * width)
            target.update(from: source, count: width)
            for row in 1..<rate {
                for unit in 0..<width {
                    let value = source[row * width + unit]
                    target[unit] = function == .maxPooling ? max(target[unit], value) : target[unit] + value
                }
            }
            if function == .meanPooling { for unit in 0..<width { target[unit] /= Float(rate) } }
        }
        return result
    }

    /// The rows most used, in their order; of two that are used alike, the earlier one.
    private func mostUsed(_ leaving: LeavingRows, _ use: Tensor) -> Tensor {
        let (length, width) = (leaving.rows.shape[1], leaving.rows.shape[2])
        let result = Tensor(zeros: [leaving.rows.shape[0], leaving.groupCount, width])
        for (b, groups) in leaving.groups.enumerated() {
            let first = length - leaving.counts[b]
            func received(_ row: Int) -> Float { use.floats[b * length + row] }
            let byUse = (first..<first + groups * rate).sorted { (received($0), $1) > (received($1), $0) }
            for (place, row) in byUse.prefix(groups).sorted().enumerated() {
                let target = (b * leaving.groupCount + leaving.groupCount - groups + place) * width
                (result.floats + target).update(from: leaving.rows.floats + (b * length + row) * width, count: width)
            }
        }
        return result
    }

    /// What the parameters learn from, summed over the sequences: a scalar on the tape; `nil` where there are none.
    ///
    /// - Parameters:
    ///   - slots: what `callAsFunction` has made of the rows.
    ///   - x: the layer's inputs at the segment's positions, [B, T, D]. Where the layer's reading is compared, the mean over units of the squared
    ///     differences at each position.
    ///   - attention: the layer's, which stays as it is.
    ///   - norm: what the layer's attention reads through; `nil` for nothing.
    public func loss(
        _ slots: Tensor, of leaving: LeavingRows, readBy x: Tensor, _ attention: RelativeSelfAttention, norm: LayerNorm?, _ pass: ForwardPass
    ) -> Tensor? {
        guard convolution != nil else { return nil }
        let (width, group) = (leaving.rows.shape[2], leaving.windows(Array(0..<rate)))
        if let decoder {
            let difference = convert(decoder(slots, pass), to: .float32) - group
            return (difference * leaving.groupMask).squared().sum() / Float(width)
        }
        let type = attention.query.weight.activationType
        func read(_ x: Tensor) -> Tensor { norm.map { $0.withConstantParameters(x) } ?? convert(x, to: type) }
        let rows = group.viewed(as: [group.shape[0], group.shape[1] * rate, width])
        let firstGroups = leaving.firstGroups
        let readings = attention.contentReadings(
            read(x.stopGradient()), of: [(read(rows), firstGroups.map { $0 * rate }), (read(slots), firstGroups)])
        let difference = convert(readings[1], to: .float32) - readings[0].converted(to: .float32)
        return difference.squared().sum() / Float(width)
    }
}
