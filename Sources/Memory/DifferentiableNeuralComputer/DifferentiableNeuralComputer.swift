// The Differentiable Neural Computer (Graves et al. 2016).
//
// Legend: B sequences, T steps, I input width, C controller width, R read heads, W memory width, N memory rows, E interface width, F = C + R W.

import NeuralNetworks
import Tensors

/// A controller that writes to and reads from a memory of N rows, finds free rows by their usage, and follows the order in which rows were written.
///
/// A whole sequence is one operation: a step reads each element of the link matrices once and writes it once, and no step allocates memory. What the
/// memory does is said at `AllocatedMemory`. The output at a step is what the controller gave and what was then read; the layer that makes answers
/// of it is the model's.
///
/// Source: A. Graves et al., "Hybrid computing using a neural network with dynamic external memory", Nature 538 (2016), Methods.
public struct DifferentiableNeuralComputer: SequenceCore {
    /// What it was made from.
    public let configuration: DifferentiableNeuralComputerConfiguration
    public let outputWidth: Int
    public let memory: [MemoryDeclaration]
    private let path: String
    private let controller: Controller
    /// [E, C], [E].
    private let interfaceWeight: Parameter
    private let interfaceBias: Parameter
    private let interfaceNorm: LayerNorm?
    private let allocatedMemory: AllocatedMemory

    /// Declares the controller's parameters at `path.controller`, `path.interface.weight` (uniform on plus and minus 1 / sqrt(C)),
    /// `path.interface.bias` (zeros) and, where the interface is normalised, `path.interfaceNorm`.
    /// - Parameter lifetime: `lane` for memory that goes on from batch to batch.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, _ configuration: DifferentiableNeuralComputerConfiguration,
        lifetime: MemoryLifetime = .sequence
    ) {
        let (rows, width, heads) = (configuration.rows, configuration.width, configuration.readHeads)
        (self.configuration, self.path) = (configuration, path)
        let allocatedMemory = AllocatedMemory(configuration)
        let count = allocatedMemory.interface.count
        let controller = Controller(store, "\(path).controller", inputs: inputs, reads: heads * width, configuration.controller)
        (self.allocatedMemory, self.controller) = (allocatedMemory, controller)
        outputWidth = configuration.controller.width + heads * width
        interfaceWeight = store.add(
            "\(path).interface.weight", [count, configuration.controller.width],
            .uniform(bound: 1 / Float(configuration.controller.width).squareRoot()))
        interfaceBias = store.add("\(path).interface.bias", [count], .zeros)
        interfaceNorm = configuration.normalizesInterface ? LayerNorm(store, "\(path).interfaceNorm", width: count) : nil
        memory =
            [
                MemoryDeclaration("\(path).matrix", [rows, width], axes: ["row", "column"], lifetime: lifetime),
                MemoryDeclaration("\(path).usage", [rows], axes: ["row"], lifetime: lifetime),
                MemoryDeclaration("\(path).precedence", [rows], axes: ["row"], lifetime: lifetime),
                MemoryDeclaration("\(path).links", [rows, rows], axes: ["later row", "earlier row"], lifetime: lifetime),
                MemoryDeclaration("\(path).readWeights", [heads, rows], axes: ["read head", "row"], lifetime: lifetime),
                MemoryDeclaration("\(path).writeWeights", [rows], axes: ["row"], lifetime: lifetime),
                MemoryDeclaration("\(path).reads", [heads, width], axes: ["read head", "column"], lifetime: lifetime),
            ] + controller.memory("\(path).controller", lifetime: lifetime)
    }

    /// Reads sequences.
    /// - Parameters:
    ///   - x: [B, T, I]; everything is computed in float32, and the outputs have x's type again.
    ///   - state: as `memory` declares it; `nil` is zeros.
    /// - Returns: [B, T, F]: the controller's output, then what each head read; and the state after the last step. Both on the tape.
    /// - Complexity: a step takes (4 R + 5) N^2 + (4 R + 7) N W flops a sequence beside the controller's, and the way back two and a half times that.
    ///   With a tape it keeps 4 (N^2 + N W + (9 + 5 R) N) bytes a step and sequence, N and R rounded up to whole registers, and the controller's
    ///   activations; with `recompute` about 2 sqrt(T) times that instead of T times.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        let frame = allocatedMemory.frame
        let interface = SteeringLayer(
            weight: pass(interfaceWeight), bias: pass(interfaceBias),
            normalization: interfaceNorm.map { (pass($0.weight), pass($0.bias)) }, limit: configuration.interfaceClip)
        let trace = pass.trace.map { _ in MemoryStepTrace(allocatedMemory) }
        let (outputs, last) = scan(
            MemoryScan(
                allocatedMemory, controller, interface, convert(x, to: .float32), from: state?.cellState(of: memory, path: path) ?? [:],
                pass.tape == nil ? .none : configuration.recompute ? .segments : .all,
                operationsPerStep: frame.linkRows * frame.stride + 8 * frame.width * frame.stride + 2048, pass,
                observe: trace.map { trace in { trace.add($1) } }))
        if let trace, let pictures = pass.trace { trace.record(to: pictures) }
        return (
            convert(pass.checked(bypassDropout(outputs, pass), interfaceWeight), to: x.dataType), MemoryState(last, as: memory, path: path)
        )
    }

    /// Dropout of the controller's part of the outputs.
    private func bypassDropout(_ outputs: Tensor, _ pass: ForwardPass) -> Tensor {
        guard configuration.bypassDropout > 0, pass.dropout != nil else { return outputs }
        let width = configuration.controller.width
        let past = dropout(outputs.slice(0..<width, axis: 2), rate: configuration.bypassDropout, pass.dropout)
        return concatenate([past, outputs.slice(width..<outputWidth, axis: 2)], axis: 2)
    }
}
