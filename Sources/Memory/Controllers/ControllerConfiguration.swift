// What kinds of controllers a memory can have.

/// The network that reads the input and steers a memory.
public struct ControllerConfiguration: Sendable, Equatable {
    /// How a controller goes from step to step.
    public enum Kind: String, Sendable, CaseIterable {
        /// Long short-term memory: hidden state and cell.
        case lstm
        /// Elman's network: h[t] = f(W x[t] + U h[t-1] + V r + b).
        case recurrent
        /// Without a state of its own: h[t] = f(W x[t] + V r + b). All that is remembered is in the memory.
        case feedForward = "feed-forward"
    }

    /// f, of the kinds that have one.
    public enum Activation: String, Sendable, CaseIterable {
        case hyperbolicTangent = "tanh"
        /// max(0, x).
        case rectifier
    }

    /// Which network.
    public var kind: Kind
    /// H, units of every layer.
    public var width: Int
    /// L; each layer reads the one below.
    public var layers: Int
    /// Of recurrent and feed-forward controllers; an LSTM has its own functions.
    public var activation: Activation

    /// - Precondition: width and layers are positive.
    public init(_ kind: Kind = .lstm, width: Int = 100, layers: Int = 1, activation: Activation = .hyperbolicTangent) {
        precondition(width > 0 && layers > 0, "a controller of \(layers) layers of \(width) units")
        (self.kind, self.width, self.layers, self.activation) = (kind, width, layers, activation)
    }

    /// Rows of a weight for each unit.
    var gatesPerUnit: Int { kind == .lstm ? 4 : 1 }

    /// True when a layer reads its own last output.
    var hasHiddenState: Bool { kind != .feedForward }
}
