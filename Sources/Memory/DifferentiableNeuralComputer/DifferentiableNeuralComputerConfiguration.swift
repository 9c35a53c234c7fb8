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
    /// The network that reads the input and the last reads, and steers the heads.
    public var controller: ControllerConfiguration
    /// What makes the strengths of content addressing out of the controller's numbers.
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
    /// Links can be sharpened (section 3.3): forward = S(L r, s) and backward = S(L^T r, s') with s, s' = oneplus(.) for every head and
    /// S(d, s)[n] = (d[n] + 1e-6)^s / sum over k of (d[k] + 1e-6)^s.
    public var sharpensLinks = false
    /// The interface is normalised: z = gain * (y - mean(y)) / sqrt(variance(y) + 1e-5) + bias, y the controller's projection (Franke et al. 2018,
    /// "memory unit normalisation").
    public var normalizesInterface = false
    /// The rate of dropout on what goes from the controller past the memory to the output: [h * mask / (1 - rate), reads] (Franke et al. 2018,
    /// "bypass dropout"). What steers the memory is not touched.
    public var bypassDropout: Float = 0
    /// The state of the memory is kept at every sqrt(T)-th step only and computed again for the backward pass, with the same bits: about 2 sqrt(T)
    /// instead of T matrices of links, for a fifth more time. What the controller computed is kept for all steps.
    public var recompute = false

    /// - Precondition: extents are positive.
    public init(rows: Int, width: Int, readHeads: Int, controller: ControllerConfiguration) {
        precondition(rows > 0 && width > 0 && readHeads > 0, "a memory of \(rows) x \(width) with \(readHeads) read heads")
        (self.rows, self.width, self.readHeads, self.controller) = (rows, width, readHeads, controller)
    }

    /// What the authors' released code learns repeat-copy with: 16 rows of 16, 4 read heads, an LSTM of 64 units, softplus strengths, and usage
    /// without a gradient.
    public static var releasedRepeatCopy: DifferentiableNeuralComputerConfiguration {
        var result = DifferentiableNeuralComputerConfiguration(
            rows: 16, width: 16, readHeads: 4, controller: ControllerConfiguration(.lstm, width: 64))
        result.strength = .softplus
        result.stopsUsageGradient = true
        return result
    }
}
