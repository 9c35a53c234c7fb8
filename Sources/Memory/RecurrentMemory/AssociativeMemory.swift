// The associative memory of one layer of an associative recurrent memory transformer (Rodkin et al. 2024).
//
// Legend: B sequences, n positions, m memory tokens, D width, K width of a key, F = 6 K features of a key.

import NeuralNetworks
import Tensors

/// A matrix A of F x D and a normaliser z of F features, which memory tokens write once a segment, by the delta rule, and every position reads.
///
/// With phi the features of ``features(_:)``:
///
///     read(k) = phi(k) A / (phi(k) . z + epsilon)
///     A += phi(k)^T b (v - read(k)),   z += g phi(k),   g = max(0, 1 - z . phi(k) / |phi(k)|^2),   b = sigmoid(w . x)
///
/// g is a constant to the gradient: a key that z knows already counts once. All tokens of a segment are written at once, against what was there
/// before. The values' projection starts at zero, so that a new memory changes nothing. Everything but the projections is float32.
///
/// - Source: Rodkin, Kuratov, Bulatov and Burtsev, "Associative recurrent memory transformer", 2024, section 2; the features are those of Schlag,
///   Irie and Schmidhuber, "Linear transformers are secretly fast weight programmers", 2021, section 5.3.
struct AssociativeMemory {
    /// A, and z as a column: [B, F, D] and [B, F, 1].
    struct State {
        var associations: Tensor
        var normalizer: Tensor
    }

    private let query: Linear
    private let key: Linear
    private let value: Linear
    private let strength: Linear
    /// F.
    let featureCount: Int

    /// What divisors are kept away from zero by.
    private static let epsilon: Float = 1e-5
    /// How far elements of a key are multiplied with each other.
    private static let rolls = 3

    /// Declares `path.memoryQuery` and `path.memoryKey` [K, D], `path.memoryValue` [D, D] and `path.memoryStrength` [1, D] with a bias; the others
    /// have none.
    init(_ store: ParameterStore, _ path: String, width: Int, keyWidth: Int, initializer: Initializer) {
        func linear(_ name: String, _ outputs: Int, _ initializer: Initializer, hasBias: Bool = false) -> Linear {
            Linear(store, "\(path).\(name)", inputs: width, outputs: outputs, initializer: initializer, hasBias: hasBias)
        }
        query = linear("memoryQuery", keyWidth, initializer)
        key = linear("memoryKey", keyWidth, initializer)
        value = linear("memoryValue", width, .zeros)
        strength = linear("memoryStrength", 1, initializer, hasBias: true)
        featureCount = 2 * Self.rolls * keyWidth
    }

    /// With r = (max(0, k), max(0, -k)): the products of r and r turned by one, two and three places. [B, n, K] to float32 [B, n, F], none negative.
    static func features(_ keys: Tensor) -> Tensor {
        let x = convert(keys, to: .float32)
        let both = concatenate([x.rectified(), (-x).rectified()], axis: 2)
        let count = both.shape[2]
        let products = (1...rolls).map { places in
            both * concatenate([both.slice(count - places..<count, axis: 2), both.slice(0..<count - places, axis: 2)], axis: 2)
        }
        return concatenate(products, axis: 2)
    }

    /// What the features of n keys find: [B, n, F] to [B, n, D].
    private static func read(_ features: Tensor, _ state: State) -> Tensor {
        matmul(features, state.associations) * (matmul(features, state.normalizer) + epsilon).applying(.reciprocal)
    }

    /// What n positions read: [B, n, D] to float32 [B, n, D].
    func read(_ x: Tensor, _ state: State, _ pass: ForwardPass) -> Tensor {
        pass.checked(Self.read(Self.features(query(x, pass)), state), query.weight)
    }

    /// The memory after m tokens have written, and how strongly they did, [B, m, 1].
    /// - Parameters:
    ///   - tokens: [B, m, D].
    ///   - state: the memory before; `nil` for an empty one.
    func written(by tokens: Tensor, _ state: State?, _ pass: ForwardPass) -> (state: State, strengths: Tensor) {
        let features = Self.features(key(tokens, pass))
        let strengths = convert(strength(tokens, pass), to: .float32).sigmoid()
        let values = convert(value(tokens, pass), to: .float32)
        let change = matmul(features, (state.map { values - Self.read(features, $0) } ?? values) * strengths, transposeA: true)
        // New features count whole, known ones for what z lacks.
        let constants = features.stopGradient()
        let ones = Tensor([Float](repeating: 1, count: featureCount), [featureCount, 1])
        let known = state.map {
            matmul(constants, $0.normalizer.stopGradient()) * (matmul(constants.squared(), ones) + Self.epsilon).applying(.reciprocal)
        }
        let shares = known.map { (1 - $0).rectified() } ?? Tensor([Float](repeating: 1, count: strengths.count), strengths.shape)
        let normalizer = matmul(features, shares, transposeA: true)
        let next = state.map { State(associations: $0.associations + change, normalizer: $0.normalizer + normalizer) }
        return (next ?? State(associations: change, normalizer: normalizer), strengths)
    }
}
