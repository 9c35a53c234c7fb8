// The memory of a Memformer (Wu et al. 2022): slots that each attend to a segment by themselves.
//
// Legend: B sequences, S positions of a segment, k slots, D width, H heads, K = D / H their size.

import NeuralNetworks
import Tensors

/// k slots of length 1, which slot attention writes once a segment and a learned bias draws back to where they began.
///
/// With W the projections, x_1 ... x_S the segment's last hidden states, normalised, and u = sqrt(D) m, whose elements are as large as theirs:
///
///     w_i = softmax([W_q u_i . W_k u_i, W_q u_i . W_k x_1, ..., W_q u_i . W_k x_S] / (tau sqrt(K)))      of each head
///     m_i <- w_i0 m_i + sum_s w_is W_v x_s
///     m_i <- (m_i + b_i) / |m_i + b_i|,   and b_i / |b_i| before the first segment
///
/// No slot sees another one. What a slot keeps of itself it keeps as it is, and without anything new it becomes, little by little, b_i / |b_i|.
/// Everything but the projections is float32.
///
/// - Source: Wu, Lan, Qian, Gu, Geramifard and Yu, "Memformer: a memory-augmented transformer for sequence modeling", Findings of AACL 2022, sections
///   3.3 (slot attention) and 3.4 (biased memory normalisation). Choices of ours: the heads, u, the norm before the projections, and W_q and W_k that
///   start as multiples of the unit matrix, so that slots hold on to most of what they are until they learn what to take up.
struct SlotMemory {
    private let norm: LayerNorm
    private let query: Linear
    private let key: Linear
    private let value: Linear
    /// b, [k, D].
    let bias: Parameter
    private let heads: Int
    private let temperature: Float

    /// What W_q u . W_k u / sqrt(K) is at the start, of a slot with as much in each head.
    private static let firstScore: Float = 2
    /// The length of b at the start.
    private static let firstBias: Float = 0.1

    /// Declares `path.slotNorm`, `path.slotQuery`, `path.slotKey` and `path.slotValue` [D, D] without biases, and `path.slotBias` [k, D].
    init(_ store: ParameterStore, _ path: String, slots: Int, width: Int, heads: Int, temperature: Float) {
        (self.heads, self.temperature) = (heads, temperature)
        let gain = (Self.firstScore / (Float(width) / Float(heads)).squareRoot()).squareRoot()
        func linear(_ name: String, _ initializer: Initializer) -> Linear {
            Linear(store, "\(path).\(name)", inputs: width, outputs: width, initializer: initializer, hasBias: false)
        }
        norm = LayerNorm(store, "\(path).slotNorm", width: width)
        query = linear("slotQuery", .diagonal(gain))
        key = linear("slotKey", .diagonal(gain))
        // What a slot takes up of one position is about as long as the slot.
        value = linear("slotValue", .normal(standardDeviation: 1 / Float(width)))
        bias = store.add(
            "\(path).slotBias", [slots, width], .normal(standardDeviation: Self.firstBias / Float(width).squareRoot()), decays: false)
    }

    /// The slots before the first segment: [B, k, D].
    func start(batch: Int, _ pass: ForwardPass) -> Tensor {
        let count = bias.shape[0]
        return embedding(unitLength(pass(bias)), Tensor((0..<batch).flatMap { _ in (0..<count).map { Int32($0) } }, [batch, count]))
    }

    /// Slots as layers and projections read them: sqrt(D) m, in the type of activations.
    func readable(_ slots: Tensor) -> Tensor { convert(slots * Float(bias.shape[1]).squareRoot(), to: bias.activationType) }

    /// The slots after a segment.
    /// - Parameters:
    ///   - slots: float32 [B, k, D].
    ///   - hidden: float32 [B, S, D].
    /// - Returns: the slots, [B, k, D], and the weights of each with its own first, [B, H, k, 1 + S].
    func written(_ slots: Tensor, by hidden: Tensor, _ pass: ForwardPass) -> (slots: Tensor, weights: Tensor) {
        let (batch, count, width) = (slots.shape[0], slots.shape[1], slots.shape[2])
        let size = width / heads
        func byHeads(_ x: Tensor) -> Tensor {
            convert(x, to: .float32).reshaped(to: [batch, x.shape[1], heads, size]).permuted(0, 2, 1, 3)
        }
        let (own, positions) = (readable(slots), norm(hidden, pass))
        let queries = byHeads(query(own, pass))
        let ones = Tensor(repeating: 1, [size, 1])
        let ownScores = matmul(queries * byHeads(key(own, pass)), ones)
        let scores = matmul(queries, byHeads(key(positions, pass)), transposeB: true)
        let weights = softmax(concatenate([ownScores, scores], axis: 3), scale: 1 / (temperature * Float(size).squareRoot()))
        let taken = matmul(weights.slice(1..<weights.shape[3], axis: 3), byHeads(value(positions, pass)))
        let next = byHeads(slots) * weights.slice(0..<1, axis: 3) + taken
        let joined = next.permuted(0, 2, 1, 3).reshaped(to: [batch, count, width])
        return (pass.checked(unitLength(joined + pass(bias)), bias), weights)
    }
}
