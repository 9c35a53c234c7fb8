// What kernels are told besides arrays and sizes.

/// Functions of one argument that have a kernel, with the gradient of each.
public enum UnaryFunction: UInt8, Sendable, CaseIterable {
    case exponential, logarithm, hyperbolicTangent, sigmoid, rectifier, softplus, squareRoot, reciprocal, square, absolute, negate
    /// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), GPT-2's approximation.
    case geluTanh
    /// x Phi(x), the exact form.
    case gelu
    case sine, cosine

    /// What it is called in errors, findings and profiles.
    public var name: StaticString {
        switch self {
        case .exponential: "exponential"
        case .logarithm: "logarithm"
        case .hyperbolicTangent: "tanh"
        case .sigmoid: "sigmoid"
        case .rectifier: "rectifier"
        case .softplus: "softplus"
        case .squareRoot: "square root"
        case .reciprocal: "reciprocal"
        case .square: "square"
        case .absolute: "absolute value"
        case .negate: "negate"
        case .geluTanh: "GELU (tanh)"
        case .gelu: "GELU"
        case .sine: "sine"
        case .cosine: "cosine"
        }
    }
}

/// What one optimizer step needs besides the arrays. Fields that a rule does not use are ignored.
/// They are float64 because a rule combines them (1 - beta2, say, would keep only 13 bits in float32) before it rounds to float32.
public struct UpdateSettings: Sendable {
    /// Learning rate of this step.
    public var learningRate: Double = 0
    /// Every gradient is multiplied by this first (1 / token count, times the clipping factor).
    public var gradientScale: Double = 1
    /// AdamW: decoupled, value -= learningRate * weightDecay * value. The other rules: weightDecay * value is added to the scaled gradient.
    public var weightDecay: Double = 0
    /// First decay rate (Adam's beta 1, SGD's and RMSProp's momentum).
    public var beta1: Double = 0
    /// Second decay rate (Adam's beta 2, RMSProp's smoothing).
    public var beta2: Double = 0
    /// Added to the denominator, after the square root.
    public var epsilon: Double = 1e-8
    /// 1 / (1 - beta1^step), Adam only.
    public var biasCorrection1: Double = 1
    /// 1 / (1 - beta2^step), Adam only.
    public var biasCorrection2: Double = 1
    /// Nesterov's form of momentum, SGD only.
    public var nesterov: Bool = false

    /// Adam's usual constants at a rate of zero.
    public init() {}
}
