// The optimizer as training sees it: a rule over flat parameter memory, and the state that a checkpoint keeps.
//
// Legend: P parameters. Values and gradients are float32 arrays of P elements in the same order, and so is every slot where one optimizer has the state
// of all of them; one of several ranks that share out the state has that of its own S parameters, one behind the other.

import Kernels

/// A run of parameters that are treated alike.
public struct ParameterRange: Sendable, Equatable {
    /// The first parameter.
    public var offset: Int
    /// Parameters.
    public var count: Int
    /// The first element of their state.
    public var stateOffset: Int
    /// True when weight decay applies: matrices and embeddings, not biases and normalisation gains.
    public var decays: Bool
    /// True when the learning rate is multiplied by `OptimizerConfiguration.tableRate`.
    public var isTable: Bool
    /// The gradients where they are rows; `nil` where they are in the flat gradient memory.
    public var rows: GradientRows?

    /// A range of the flat parameter memory, in elements. Its state lies at the same place of the slots unless another is given; it is no table, and its
    /// gradients are in the flat memory, unless that is said.
    public init(offset: Int, count: Int, stateOffset: Int? = nil, decays: Bool, isTable: Bool = false, rows: GradientRows? = nil) {
        self.offset = offset
        self.count = count
        self.stateOffset = stateOffset ?? offset
        self.decays = decays
        self.isTable = isTable
        self.rows = rows
    }
}

/// A named state buffer with one float32 for each parameter that the optimizer updates. The slot owns the memory.
public final class OptimizerSlot {
    /// The name in checkpoints: "first_moment", "second_moment", "momentum", "squared_average" or "squared_sum".
    public let name: String
    /// The state, S elements. Valid as long as the slot.
    public let buffer: UnsafeMutableBufferPointer<Float>

    /// So many elements of one value.
    init(name: String, count: Int, initial: Float = 0) {
        self.name = name
        buffer = .allocate(capacity: count)
        buffer.initialize(repeating: initial)
    }

    deinit {
        buffer.deallocate()
    }

    /// The first element.
    var base: UnsafeMutablePointer<Float> {
        buffer.baseAddress.unsafelyUnwrapped
    }
}

/// An update rule with its state.
///
/// `step` may be called on several threads at once when their ranges do not overlap.
public protocol Optimizer: AnyObject {
    /// The state, in a fixed order; empty for SGD without momentum. Write through the buffers to restore a checkpoint.
    var slots: [OptimizerSlot] { get }

    /// One update of the parameters in `ranges`, in place.
    ///
    /// - Parameters:
    ///   - values: P parameters, updated.
    ///   - gradients: P gradients, read only, and not read where a range has rows.
    ///   - ranges: what to update; other parameters and their state stay as they are. A range with rows is updated as if the others were zero: only
    ///     its rows are visited where a rule leaves a parameter without gradient as it is (SGD without momentum and Adagrad, without weight decay),
    ///     all of them where their state or value decays.
    ///   - learningRate: of this step, as the schedule gave it.
    ///   - gradientScale: every gradient is multiplied by this first (1 / token count, times `clipFactor`).
    ///   - step: the number of this update, from 1.
    ///   - lowPrecision: P bfloat16 bit patterns, a copy of `values` that is written in the same pass for the parameters in `ranges`.
    /// - Complexity: one pass: AdamW reads 16 bytes and writes 12 for each parameter, and 2 more with a copy.
    func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, ranges: [ParameterRange], learningRate: Double, gradientScale: Double,
        step: Int, lowPrecision: UnsafeMutablePointer<UInt16>?)
}

extension Optimizer {
    /// One update of the parameters in `ranges`, in place, without a bfloat16 copy.
    public func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, ranges: [ParameterRange], learningRate: Double, gradientScale: Double,
        step: Int
    ) {
        self.step(
            values: values, gradients: gradients, ranges: ranges, learningRate: learningRate, gradientScale: gradientScale, step: step,
            lowPrecision: nil)
    }
}

/// The optimizer that a configuration asks for, with fresh state.
///
/// - Parameter parameterCount: S, the parameters that it updates; the slots take at most 8 S bytes.
/// - Throws: `UserError` (configuration) from `OptimizerConfiguration.validate`.
public func makeOptimizer(_ configuration: OptimizerConfiguration, parameterCount: Int) throws -> any Optimizer {
    try configuration.validate()
    precondition(parameterCount > 0, "an optimizer needs parameters")
    switch configuration.kind {
    case .adamw: return AdamW(configuration, parameterCount)
    case .sgd: return StochasticGradientDescent(configuration, parameterCount)
    case .rmsprop: return RMSProp(configuration, parameterCount)
    case .adagrad: return Adagrad(configuration, parameterCount)
    }
}
