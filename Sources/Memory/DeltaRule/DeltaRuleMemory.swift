// A layer that remembers by the delta rule (Schlag, Irie and Schmidhuber 2021; with a decay as in Yang, Kautz and Hatamizadeh 2024).
//
// Legend: B sequences, T steps, I input width, H heads, K width of a key, V width of a value.

import Diagnostics
import NeuralNetworks
import Tensors

/// H matrices of K x V that a sequence writes by the delta rule and reads by its queries. Everything is float32.
public struct DeltaRuleMemory: SequenceCore {
    /// H.
    public let heads: Int
    /// K.
    public let keyWidth: Int
    /// V.
    public let valueWidth: Int
    public let memory: [MemoryDeclaration]
    private let associations: Linear
    private let gates: Linear

    /// Declares `path.associations.weight` [H (2 K + V), I] and `.bias` for queries, keys and values, and `path.gates.weight` [2 H, I] and `.bias`
    /// for strengths (which start at 1/2) and decays (which start near 0.98).
    /// - Parameter lifetime: `lane` for memory that goes on from batch to batch.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, heads: Int, keyWidth: Int, valueWidth: Int, lifetime: MemoryLifetime = .sequence
    ) {
        require(heads > 0 && keyWidth > 0 && valueWidth > 0, "delta rule: \(heads) heads of \(keyWidth) x \(valueWidth)")
        (self.heads, self.keyWidth, self.valueWidth) = (heads, keyWidth, valueWidth)
        associations = Linear(
            store, "\(path).associations", inputs: inputs, outputs: heads * (2 * keyWidth + valueWidth), initializer: .xavierUniform)
        gates = Linear(
            store, "\(path).gates", inputs: inputs, outputs: 2 * heads, initializer: .xavierUniform, biasInitializer: .parts([0, -4]))
        memory = [MemoryDeclaration("\(path).memory", [heads * keyWidth, valueWidth], axes: ["key", "value"], lifetime: lifetime)]
    }

    /// H V.
    public var outputWidth: Int { heads * valueWidth }

    /// - Complexity: a step costs 2 H I (2 K + V + 2) flops of products, and what `deltaRule` costs; three times that backward.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        let gates = convert(gates(x, pass), to: .float32)
        let (outputs, last) = deltaRule(
            convert(associations(x, pass), to: .float32), strengths: gates.slice(0..<heads, axis: 2).sigmoid(),
            logDecays: -gates.slice(heads..<2 * heads, axis: 2).applying(.softplus), from: state?.tensors[0],
            DeltaRuleShape(heads: heads, keyWidth: keyWidth, valueWidth: valueWidth))
        return (convert(pass.checked(outputs, associations.weight), to: x.dataType), MemoryState([last]))
    }
}
