// A layer's lookup of n-grams, gated by what the layer has read (Engram: arXiv 2601.07372, 2026, section 2).
//
// Legend: B sequences, T positions, D width, R rows of the table, w their width, C = (N - 1) K rows that a position reads, E = C w.

import Diagnostics
import KernelTypes
import NeuralNetworks
import Tensors

/// How much of what a position's n-grams own reaches its hidden state, from the product s of the two normalised vectors.
public enum EngramGate: String, Sendable, CaseIterable {
    /// sigmoid(s), as in the paper's text.
    case plain
    /// sigmoid(sign(s) sqrt(max(|s|, 1e-6))), as in its authors' program: steeper around 0.
    case root

    /// The gates of products, in any shape.
    func callAsFunction(_ products: Tensor) -> Tensor {
        guard self == .root else { return products.sigmoid() }
        let roots = Tensor(uninitialized: products.shape)
        for i in 0..<products.count {
            let product = products.floats[i]
            roots.floats[i] = max(abs(product), Self.smallest).squareRoot() * (product < 0 ? -1 : 1)
        }
        let recorded = Operation("signed root").record(roots, from: products) { gradient in
            products.node?.withZeroedGradient { target in
                for i in 0..<gradient.count where abs(products.floats[i]) > Self.smallest {
                    target[i] += gradient.floats[i] / (2 * abs(roots.floats[i]))
                }
            }
        }
        return recorded.sigmoid()
    }

    private static let smallest: Float = 1e-6
}

/// Adds to the hidden state of a position what the n-grams that end there own in a table of trained rows:
///
///     e = rows of the n-grams, side by side;  k = W_k e;  v = W_v e;  s = norm(h) . norm(k) / sqrt(D);  y = gate(s) v
///
/// Nothing of it depends on the hidden state but the gate, so that rows can be fetched before the layers below have computed. The table's gradient has only
/// rows that were read; the rows themselves have none for their numbers.
///
/// - Source: section 2 of the paper. Its convolution over positions, which its ablation finds worth little, is left out.
public struct EngramLayer {
    /// Which rows a position reads.
    public let addresses: NGramAddresses
    /// [R, w].
    public let table: Parameter
    private let hiddenNorm: Parameter
    private let keyNorm: Parameter
    private let key: Linear
    private let value: Linear
    private let gate: EngramGate
    /// What sums the D products of a gate: ones, [1, D].
    private let ones: Tensor

    /// Added to the mean of squares.
    private static let epsilon: Float = 1e-6

    /// Declares `path.table` [R, w], N(0, 0.02), which does not decay; `path.hiddenNorm.weight` and `path.keyNorm.weight` [D]; `path.key` and `path.value`
    /// [D, E] without biases.
    /// - Parameters:
    ///   - rowWidth: w.
    ///   - width: D.
    ///   - outputInitializer: of W_v, which writes to the residual stream.
    public init(
        _ store: ParameterStore, _ path: String, _ addresses: NGramAddresses, rowWidth: Int, width: Int, gate: EngramGate, initializer: Initializer,
        outputInitializer: Initializer
    ) {
        (self.addresses, self.gate) = (addresses, gate)
        table = store.add(
            "\(path).table", [addresses.rows, rowWidth], .normal(standardDeviation: 0.02), decays: false, isTable: true,
            gradient: .table(rows: addresses.rows, width: rowWidth))
        hiddenNorm = store.add("\(path).hiddenNorm.weight", [width], .ones)
        keyNorm = store.add("\(path).keyNorm.weight", [width], .ones)
        let inputs = addresses.count * rowWidth
        key = Linear(store, "\(path).key", inputs: inputs, outputs: width, initializer: initializer, hasBias: false)
        value = Linear(store, "\(path).value", inputs: inputs, outputs: width, initializer: outputInitializer, hasBias: false)
        ones = Tensor(repeating: 1, [1, width])
    }

    /// What is added to the hidden states: [B, T, D] in the type of activations.
    /// - Parameters:
    ///   - hidden: h, [B, T, D].
    ///   - rows: int32 [B, T, C], as ``NGramAddresses/rows(of:before:resets:)`` gives them.
    public func callAsFunction(_ hidden: Tensor, rows: Tensor, _ pass: ForwardPass) -> Tensor {
        let (batch, steps, width) = (hidden.shape[0], hidden.shape[1], hidden.shape[2])
        let read = embedding(pass(table), rows).reshaped(to: [batch, steps, addresses.count * table.shape[1]])
        let found = pass.checked(convert(read, to: key.weight.activationType), table)
        let query = rmsNorm(convert(hidden, to: .float32), gain: pass(hiddenNorm), epsilon: Self.epsilon)
        let keys = rmsNorm(convert(key(found, pass), to: .float32), gain: pass(keyNorm), epsilon: Self.epsilon)
        let products = linear(query * keys, weight: ones)
        let gates = gate(products * (1 / Float(width).squareRoot()))
        return convert(convert(value(found, pass), to: .float32) * gates, to: hidden.dataType)
    }
}
