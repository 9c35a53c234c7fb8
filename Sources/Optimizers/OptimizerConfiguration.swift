// What a run may say about its optimizer.

import Diagnostics

/// The update rules.
public enum OptimizerKind: String, Sendable, CaseIterable, Codable {
    case adamw, sgd, rmsprop, adagrad
}

/// What the gradient of a step is divided by before it is clipped and applied.
public enum LossReduction: String, Sendable, CaseIterable, Codable {
    /// By the predicted tokens or answers: the gradient of the mean loss.
    case mean
    /// By the lanes: of the loss summed over time and averaged over lanes (Zaremba et al. 2014).
    case lane
    /// By nothing: of the summed loss (Sukhbaatar et al. 2015).
    case sum
}

/// What a gradient's norm is taken over for clipping.
public enum ClipScope: String, Sendable, CaseIterable, Codable {
    /// The whole gradient.
    case all
    /// Each parameter's gradient by itself (Frobenius norm of a matrix).
    case parameter
}

/// The section `optimizer` of a run's configuration. Fields that a rule does not use are ignored.
public struct OptimizerConfiguration: Sendable, Equatable {
    /// The update rule.
    public var kind: OptimizerKind
    /// The learning rate that the schedule multiplies, above 0.
    public var learningRate: Double
    /// AdamW: decay rates of the first and second moment, each in 0 ..< 1.
    public var betas: [Double]
    /// Added to the denominator after the square root, 0 or above.
    public var epsilon: Double
    /// Weight decay, 0 or above: decoupled in AdamW, added to the gradient in the other rules. Ranges that do not decay leave it out.
    public var weightDecay: Double
    /// SGD and RMSProp: momentum in 0 ..< 1, 0 for none.
    public var momentum: Double
    /// SGD: Nesterov's form of momentum.
    public var nesterov: Bool
    /// RMSProp: decay rate of the average of squared gradients, in 0 ..< 1 (PyTorch's alpha).
    public var smoothing: Double
    /// Adagrad: what the sum of squared gradients starts from, 0 or above.
    public var initialAccumulator: Double
    /// The largest L2 norm that the whole gradient may have; larger ones are scaled down. 0 for no clipping.
    public var clip: Double
    /// What the norm for `clip` is taken over.
    public var clipPer = ClipScope.all
    /// What the gradient is divided by.
    public var reduction = LossReduction.mean
    /// What the learning rate is multiplied by for tables of rows that are found by an address, above 0.
    /// - Source: Engram (arXiv 2601.07372), whose tables learn five times as fast as the rest.
    public var tableRate = 5.0

    /// A configuration; what is left out has PyTorch's default for the rule.
    ///
    /// - Parameters:
    ///   - learningRate: default 1e-3 (AdamW, SGD) or 1e-2 (RMSProp, Adagrad).
    ///   - epsilon: default 1e-8, Adagrad 1e-10.
    ///   - weightDecay: default 0.01 for AdamW, 0 for the others.
    public init(
        kind: OptimizerKind = .adamw, learningRate: Double? = nil, betas: [Double] = [0.9, 0.999], epsilon: Double? = nil, weightDecay: Double? = nil,
        momentum: Double = 0, nesterov: Bool = false, smoothing: Double = 0.99, initialAccumulator: Double = 0, clip: Double = 0
    ) {
        self.kind = kind
        self.learningRate = learningRate ?? (kind == .adamw || kind == .sgd ? 1e-3 : 1e-2)
        self.betas = betas
        self.epsilon = epsilon ?? (kind == .adagrad ? 1e-10 : 1e-8)
        self.weightDecay = weightDecay ?? (kind == .adamw ? 0.01 : 0)
        self.momentum = momentum
        self.nesterov = nesterov
        self.smoothing = smoothing
        self.initialAccumulator = initialAccumulator
        self.clip = clip
    }

    /// The number of float32 values of state that the rule keeps for each parameter.
    public var slotCount: Int {
        switch kind {
        case .adamw: 2
        case .sgd: momentum > 0 ? 1 : 0
        case .rmsprop: momentum > 0 ? 2 : 1
        case .adagrad: 1
        }
    }

    /// Checks every value.
    ///
    /// - Throws: `UserError` (configuration) that names the first key whose value is out of range.
    public func validate() throws {
        try require(learningRate.isFinite && learningRate > 0, "learningRate", learningRate, "above 0")
        if betas.count != 2 {
            throw UserError(.configuration, "\(betas.count) values given, 2 expected", at: "optimizer.betas", advice: "write [0.9, 0.999]")
        }
        for beta in betas { try require(beta >= 0 && beta < 1, "betas", beta, "at least 0 and below 1") }
        try require(epsilon.isFinite && epsilon >= 0, "epsilon", epsilon, "at least 0")
        try require(weightDecay.isFinite && weightDecay >= 0, "weightDecay", weightDecay, "at least 0")
        try require(momentum >= 0 && momentum < 1, "momentum", momentum, "at least 0 and below 1")
        if nesterov && !(kind == .sgd && momentum > 0) {
            throw UserError(
                .configuration, "nesterov needs kind sgd with a momentum above 0", at: "optimizer.nesterov",
                advice: "set optimizer.momentum or leave nesterov out")
        }
        try require(smoothing >= 0 && smoothing < 1, "smoothing", smoothing, "at least 0 and below 1")
        try require(tableRate.isFinite && tableRate > 0, "tableRate", tableRate, "above 0")
        try require(initialAccumulator.isFinite && initialAccumulator >= 0, "initialAccumulator", initialAccumulator, "at least 0")
        try require(clip.isFinite && clip >= 0, "clip", clip, "at least 0; 0 means no clipping")
    }

    /// Throws unless the value of a key is in range.
    private func require(_ isValid: Bool, _ key: String, _ value: Double, _ range: String) throws {
        if !isValid { throw UserError(.configuration, "\(value) is out of range", at: "optimizer.\(key)", advice: "give a value \(range)") }
    }
}
