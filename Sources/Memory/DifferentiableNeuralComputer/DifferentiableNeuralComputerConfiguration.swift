// What can be chosen about a Differentiable Neural Computer.

/// The sizes of a Differentiable Neural Computer, and which of the later changes to it are used.
public struct DifferentiableNeuralComputerConfiguration: Sendable, Equatable {
    /// How a strength comes from its interface value x.
    public enum Strength: String, Sendable, CaseIterable {
        /// 1 + log(1 + exp(x)), as in the paper.
        case onePlus = "oneplus"
        /// log(1 + exp(x)), as in the code that its authors released.
        case softplus
    }

    /// N, rows of the memory.
    public var rows: Int
    /// W, the width of a row.
    public var width: Int
    /// R, heads that read.
    public var readHeads: Int
    public var controller: ControllerConfiguration
    public var strength: Strength = .onePlus
    /// Values of the interface are kept within plus and minus this; `nil` leaves them.
    public var interfaceClip: Float? = 20
    /// Usage is a constant function of the write weights: no gradient flows back through them, as in the released code.
    public var stopsUsageGradient = false
    /// Keys are compared in the dimensions that a mask selects (Csordas and Schmidhuber 2019, section 3.1):
    /// c[n] = softmax over n of strength * cos(key * m, M[n] * m), m = 0.1 + 0.9 sigmoid(.) of W values for every head.
    public var masksKeys = false
    /// What is freed is wiped (section 3.2): M = (M * psi) * (1 - w e^T) + w v^T, psi the retention of each row.
    public var erasesFreedRows = false
    /// Links can be sharpened (section 3.3): forward = S(L r, s), backward = S(L^T r, s'), S(d, s)[n] = (d[n] + 1e-6)^s / sum over k of (d[k] + 1e-6)^s,
    /// with s and s' = oneplus(.) for every head.
    public var sharpensLinks = false
    /// The interface is normalised: layer normalisation, with gain and bias, of the controller's projection (Franke et al. 2018, "memory unit normalisation").
    public var normalizesInterface = false
    /// The rate of dropout on what goes from the controller past the memory to the output (Franke et al. 2018, "bypass dropout").
    public var bypassDropout: Float = 0
    /// The state of the memory is kept at every sqrt(T)-th step only and computed again for the backward pass, with the same bits: T^(1/2) instead of T matrices of
    /// links, for half as much time again. What the controller computed is kept for all steps.
    public var recompute = false

    /// - Precondition: extents are positive.
    public init(rows: Int, width: Int, readHeads: Int, controller: ControllerConfiguration) {
        precondition(rows > 0 && width > 0 && readHeads > 0, "a memory of \(rows) x \(width) with \(readHeads) read heads")
        (self.rows, self.width, self.readHeads, self.controller) = (rows, width, readHeads, controller)
    }
}
