// The four update rules, each a thin owner of state around one kernel. Their arithmetic is PyTorch's (torch.optim, dampening 0, uncentered
// RMSProp, Adagrad without learning-rate decay), and is tested against it.

import Diagnostics
import Kernels

/// Calls `body` for parts of each range, on all threads, with the weight decay and the learning rate that the range has.
/// - Parameters:
///   - tableRate: ``OptimizerConfiguration/tableRate``.
///   - restsWithoutGradient: whether, without weight decay, a parameter whose gradient is zero stays as it is, and its state as well.
private func forEach(
    _ ranges: [ParameterRange], within parameterCount: Int, _ gradients: UnsafePointer<Float>, _ settings: UpdateSettings, tableRate: Double,
    restsWithoutGradient: Bool,
    _ body: (_ offset: Int, _ state: Int, _ count: Int, _ gradients: UnsafePointer<Float>, _ settings: UpdateSettings) -> Void
) {
    for range in ranges {
        require(
            range.offset >= 0 && range.count >= 0 && range.stateOffset >= 0 && range.stateOffset + range.count <= parameterCount,
            "range \(range.offset) ..< \(range.offset + range.count), with its state at \(range.stateOffset), is outside \(parameterCount) parameters")
        var settings = settings
        if !range.decays { settings.weightDecay = 0 }
        if range.isTable { settings.learningRate *= tableRate }
        guard let rows = range.rows else {
            Workers.parallel(range.count, minimum: 1 << 15) { part in
                body(range.offset + part.lowerBound, range.stateOffset + part.lowerBound, part.count, gradients + (range.offset + part.lowerBound), settings)
            }
            continue
        }
        require(rows.count == 0 || rows.start(rows.count - 1) + rows.width <= range.count, "rows outside a range of \(range.count) parameters")
        if restsWithoutGradient, settings.weightDecay == 0 {
            Workers.parallel(rows.count, minimum: max(1, (1 << 15) / rows.width)) { part in
                for i in part { body(range.offset + rows.start(i), range.stateOffset + rows.start(i), rows.width, rows.gradients(i), settings) }
            }
        } else {
            withUnsafeTemporaryAllocation(of: Float.self, capacity: 1 << 12) { buffer in
                buffer.initialize(repeating: 0)
                let zeros = UnsafeBufferPointer(buffer)
                Workers.parallel(range.count, minimum: 1 << 15) { part in
                    rows.forEachPart(of: part, zeros: zeros) { body(range.offset + $0, range.stateOffset + $0, $1, $2, settings) }
                }
            }
        }
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
final class AdamW: Optimizer {
    private let configuration: OptimizerConfiguration
    private let parameterCount: Int
    private let firstMoment: OptimizerSlot
    private let secondMoment: OptimizerSlot

    init(_ configuration: OptimizerConfiguration, _ parameterCount: Int) {
        self.configuration = configuration
        self.parameterCount = parameterCount
        firstMoment = OptimizerSlot(name: "first_moment", count: parameterCount)
        secondMoment = OptimizerSlot(name: "second_moment", count: parameterCount)
    }

    var slots: [OptimizerSlot] { [firstMoment, secondMoment] }

    func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, ranges: [ParameterRange], learningRate: Double, gradientScale: Double,
        step: Int, lowPrecision: UnsafeMutablePointer<UInt16>?
    ) {
        require(step >= 1, "updates are numbered from 1")
        var settings = UpdateSettings()
        settings.learningRate = learningRate
        settings.gradientScale = gradientScale
        settings.weightDecay = configuration.weightDecay
        settings.beta1 = configuration.betas[0]
        settings.beta2 = configuration.betas[1]
        settings.epsilon = configuration.epsilon
        settings.biasCorrection1 = 1 / (1 - power(settings.beta1, step))
        settings.biasCorrection2 = 1 / (1 - power(settings.beta2, step))
        forEach(
            ranges, within: parameterCount, gradients, settings, tableRate: configuration.tableRate, restsWithoutGradient: false
        ) { offset, state, count, gradients, settings in
            Kernels.active.adamW(
                values + offset, firstMoment.base + state, secondMoment.base + state, gradients, settings,
                lowPrecision: lowPrecision.map { $0 + offset }, count)
        }
    }
}

/// Stochastic gradient descent with momentum, plain or in Nesterov's form (Sutskever et al., 2013, as PyTorch writes it).
final class StochasticGradientDescent: Optimizer {
    private let configuration: OptimizerConfiguration
    private let parameterCount: Int
    private let momentum: OptimizerSlot?

    init(_ configuration: OptimizerConfiguration, _ parameterCount: Int) {
        self.configuration = configuration
        self.parameterCount = parameterCount
        momentum = configuration.momentum > 0 ? OptimizerSlot(name: "momentum", count: parameterCount) : nil
    }

    var slots: [OptimizerSlot] { momentum.map { [$0] } ?? [] }

    func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, ranges: [ParameterRange], learningRate: Double, gradientScale: Double,
        step: Int, lowPrecision: UnsafeMutablePointer<UInt16>?
    ) {
        var settings = UpdateSettings()
        settings.learningRate = learningRate
        settings.gradientScale = gradientScale
        settings.weightDecay = configuration.weightDecay
        settings.beta1 = configuration.momentum
        settings.nesterov = configuration.nesterov
        forEach(
            ranges, within: parameterCount, gradients, settings, tableRate: configuration.tableRate, restsWithoutGradient: momentum == nil
        ) { offset, state, count, gradients, settings in
            Kernels.active.sgd(
                values + offset, momentum.map { $0.base + state }, gradients, settings,
                lowPrecision: lowPrecision.map { $0 + offset }, count)
        }
    }
}

/// RMSProp (Tieleman and Hinton, 2012), with momentum where asked for.
final class RMSProp: Optimizer {
    private let configuration: OptimizerConfiguration
    private let parameterCount: Int
    private let squaredAverage: OptimizerSlot
    private let momentum: OptimizerSlot?

    init(_ configuration: OptimizerConfiguration, _ parameterCount: Int) {
        self.configuration = configuration
        self.parameterCount = parameterCount
        squaredAverage = OptimizerSlot(name: "squared_average", count: parameterCount)
        momentum = configuration.momentum > 0 ? OptimizerSlot(name: "momentum", count: parameterCount) : nil
    }

    var slots: [OptimizerSlot] { [squaredAverage] + (momentum.map { [$0] } ?? []) }

    func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, ranges: [ParameterRange], learningRate: Double, gradientScale: Double,
        step: Int, lowPrecision: UnsafeMutablePointer<UInt16>?
    ) {
        var settings = UpdateSettings()
        settings.learningRate = learningRate
        settings.gradientScale = gradientScale
        settings.weightDecay = configuration.weightDecay
        settings.beta1 = configuration.momentum
        settings.beta2 = configuration.smoothing
        settings.epsilon = configuration.epsilon
        forEach(
            ranges, within: parameterCount, gradients, settings, tableRate: configuration.tableRate, restsWithoutGradient: false
        ) { offset, state, count, gradients, settings in
            Kernels.active.rmsProp(
                values + offset, squaredAverage.base + state, momentum.map { $0.base + state }, gradients, settings,
                lowPrecision: lowPrecision.map { $0 + offset }, count)
        }
    }
}

/// Adagrad (Duchi, Hazan and Singer, 2011).
final class Adagrad: Optimizer {
    private let configuration: OptimizerConfiguration
    private let parameterCount: Int
    private let squaredSum: OptimizerSlot

    init(_ configuration: OptimizerConfiguration, _ parameterCount: Int) {
        self.configuration = configuration
        self.parameterCount = parameterCount
        squaredSum = OptimizerSlot(name: "squared_sum", count: parameterCount, initial: Float(configuration.initialAccumulator))
    }

    var slots: [OptimizerSlot] { [squaredSum] }

    func step(
        values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, ranges: [ParameterRange], learningRate: Double, gradientScale: Double,
        step: Int, lowPrecision: UnsafeMutablePointer<UInt16>?
    ) {
        var settings = UpdateSettings()
        settings.learningRate = learningRate
        settings.gradientScale = gradientScale
        settings.weightDecay = configuration.weightDecay
        settings.epsilon = configuration.epsilon
        forEach(
            ranges, within: parameterCount, gradients, settings, tableRate: configuration.tableRate, restsWithoutGradient: configuration.epsilon > 0
        ) { offset, state, count, gradients, settings in
            Kernels.active.adagrad(
                values + offset, squaredSum.base + state, gradients, settings,
                lowPrecision: lowPrecision.map { $0 + offset }, count)
        }
    }
}

/// base^exponent by repeated squaring, the same on every system.
private func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    var square = base
    var rest = exponent
    while rest > 0 {
        if rest & 1 == 1 { result *= square }
        square *= square
        rest >>= 1
    }
    return result
}
