// The Neural Turing Machine (Graves, Wayne and Danihelka 2014): a controller that reads and writes the rows of a matrix by attention.
//
// Legend: B sequences, T steps, I input width, H controller units, N memory rows, W their width, R read heads, K write heads, A = R + K, C shifts,
// P = A (W + 3 + C) + 2 K W numbers for all heads of a step.

import Kernels
import NeuralNetworks
import Tensors

/// What a Neural Turing Machine is made of.
public struct NeuralTuringMachineConfiguration: Sendable, Equatable {
    /// N.
    public var rows = 128
    /// W.
    public var width = 20
    /// R.
    public var readHeads = 1
    /// K.
    public var writeHeads = 1
    /// The network that reads the input and the last reads, and steers the heads.
    public var controller = ControllerConfiguration(.lstm, width: 100)
    /// By how many rows a head can move at a step.
    public var shifts: ClosedRange<Int> = -1...1
    /// The numbers for the heads are cut to -limit ... limit; `nil` for none.
    public var limit: Float? = 20
    /// Added to the product of the norms in the cosine.
    public var epsilon: Float = 1e-6
    /// Whether keys go through tanh.
    public var squashesKeys = true
    /// Whether what is added goes through tanh.
    public var squashesAdditions = true
    /// What every element of the memory starts with (Collier and Beel 2018 find a small constant best).
    public var initialMemory: Float = 1e-6
    /// Whether the rows that the heads point at before the first step, and what they have read there, are learned. Otherwise row 0 and zeros.
    public var learnsInitialReads = false
    /// Whether the initial memory is learned, starting from `initialMemory`.
    public var learnsInitialMemory = false
    /// Keeps the memory of only every sqrt(T)-th step for the backward pass and computes those between again: less memory, the same bits.
    public var recompute = false

    /// The copy task of Collier and Beel 2018: one read and one write head on 128 rows of 20, an LSTM of 100 units.
    public init() {}
}

/// A controller with R read and K write heads on N rows of memory.
///
/// A step reads [x[t], r[t-1]] with the controller, which gives all heads their numbers by one linear layer. A head's weights come from the memory
/// M[t-1]: softmax of strength * cosine(key, row), gate with its last weights, circular shift, sharpening. Reads are taken from M[t-1], before the
/// write: r[t] = sum of w[i] M[t-1][i]; then M[t] = M[t-1] * (product over write heads of 1 - w e) + sum of w a. What is written at a step can be
/// read at the next.
///
/// Everything is float32; inputs of another type are converted. - Source: equations 1 to 9; settings and initialisation of Collier and Beel 2018.
public struct NeuralTuringMachine: SequenceCore {
    /// What it was made from.
    public let configuration: NeuralTuringMachineConfiguration
    /// The network that steers the heads; its parameters are `PATH.controller...`.
    public let controller: Controller
    private let path: String
    private let lifetime: MemoryLifetime
    private let interfaceWeight: Parameter
    private let interfaceBias: Parameter
    private let initialMemory: Parameter?
    private let initialReads: Parameter?
    private let initialReadWeights: Parameter?
    private let initialWriteWeights: Parameter?

    /// Declares `path.controller.*`, `path.interface.weight` [P, H] and `.bias` [P] and, where they are learned, `path.initialMemory` [N, W],
    /// `.initialReads` [R, W], `.initialReadWeights` [R, N] and `.initialWriteWeights` [K, N] (before a softmax).
    ///
    /// The numbers of a step are, for each read and then each write head: key [W], strength, gate, shift [C], sharpness; then all erase vectors [K,
    /// W] and all add vectors [K, W].
    /// - Parameter lifetime: `lane` for memory that goes on from batch to batch.
    /// - Precondition: extents are positive, and a shift is shorter than the memory.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, _ configuration: NeuralTuringMachineConfiguration, lifetime: MemoryLifetime = .sequence
    ) {
        let (rows, width, reads, writes) = (configuration.rows, configuration.width, configuration.readHeads, configuration.writeHeads)
        precondition(
            rows > 0 && width > 0 && reads > 0 && writes > 0, "a memory of \(rows) x \(width) with \(reads) read and \(writes) write heads")
        precondition(configuration.epsilon > 0, "epsilon \(configuration.epsilon) is not positive")
        self.configuration = configuration
        (self.path, self.lifetime) = (path, lifetime)
        controller = Controller(store, "\(path).controller", inputs: inputs, reads: reads * width, configuration.controller)
        let count = (reads + writes) * (width + 3 + configuration.shifts.count) + 2 * writes * width
        interfaceWeight = store.add("\(path).interface.weight", [count, configuration.controller.width], .xavierUniform)
        interfaceBias = store.add("\(path).interface.bias", [count], .zeros)
        initialMemory =
            configuration.learnsInitialMemory ? store.add("\(path).initialMemory", [rows, width], .constant(configuration.initialMemory)) : nil
        if configuration.learnsInitialReads {
            initialReads = store.add("\(path).initialReads", [reads, width], .normal(standardDeviation: 0.1), decays: false)
            initialReadWeights = store.add("\(path).initialReadWeights", [reads, rows], .normal(standardDeviation: 1), decays: false)
            initialWriteWeights = store.add("\(path).initialWriteWeights", [writes, rows], .normal(standardDeviation: 1), decays: false)
        } else {
            (initialReads, initialReadWeights, initialWriteWeights) = (nil, nil, nil)
        }
    }

    /// H + R W: what the controller gives, then what the heads have read.
    public var outputWidth: Int { configuration.controller.width + configuration.readHeads * configuration.width }

    /// `path.memory`, `.readWeights`, `.writeWeights`, `.reads`, then the controller's states.
    public var memory: [MemoryDeclaration] {
        let weights = { (parameter: Parameter?) -> InitialMemory in parameter.map { .softmax(ofParameter: $0.name) } ?? .oneHot(0) }
        let (rows, width, reads, writes) = (configuration.rows, configuration.width, configuration.readHeads, configuration.writeHeads)
        return [
            MemoryDeclaration(
                "\(path).memory", [rows, width], axes: ["row", "column"], lifetime: lifetime,
                initial: initialMemory.map { .parameter($0.name) } ?? .constant(configuration.initialMemory)),
            MemoryDeclaration("\(path).readWeights", [reads, rows], axes: ["head", "row"], lifetime: lifetime, initial: weights(initialReadWeights)),
            MemoryDeclaration(
                "\(path).writeWeights", [writes, rows], axes: ["head", "row"], lifetime: lifetime, initial: weights(initialWriteWeights)),
            MemoryDeclaration(
                "\(path).reads", [reads, width], axes: ["head", "column"], lifetime: lifetime,
                initial: initialReads.map { .parameter($0.name) } ?? .constant(0)),
        ] + controller.memory("\(path).controller", lifetime: lifetime)
    }

    /// - Complexity: a step costs 2 B (H (G + P) + G R W) flops of products, G = 4 H for an LSTM, and passes over B N W numbers: two forwards, four
    ///   backwards. Keeps T B (N W + 5 A N) numbers for the backward pass, 2 sqrt(T) B (N W + 5 A N) with `recompute`.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        let turing = TuringMemory(configuration)
        let (heads, rows) = (configuration.readHeads + configuration.writeHeads, configuration.rows)
        let stride = AddressedMemoryShape(rows: rows, width: configuration.width).stride
        let picture = pass.trace.map { _ in WeightPicture(heads: heads, rows: rows, steps: x.shape[1]) }
        let (outputs, last) = scan(
            MemoryScan(
                turing, controller, SteeringLayer(weight: pass(interfaceWeight), bias: pass(interfaceBias)), convert(x, to: .float32),
                from: state?.cellState(of: memory, path: path) ?? initialState(batch: x.shape[0], pass),
                pass.tape == nil ? .none : configuration.recompute ? .segments : .all, operationsPerStep: 2 * stride * (configuration.width + heads),
                pass, observe: picture.map { picture in { t, frame in picture.record(t, frame + turing.weights, stride: stride) } }))
        if let trace = pass.trace { picture?.show(trace, names: headNames) }
        return (convert(pass.checked(outputs, interfaceWeight), to: x.dataType), MemoryState(last, as: memory, path: path))
    }

    private var headNames: [String] {
        func names(_ kind: String, _ count: Int) -> [String] { count == 1 ? [kind] : (1...count).map { "\(kind), head \($0)" } }
        return names("read weights", configuration.readHeads) + names("write weights", configuration.writeHeads)
    }

    /// The learned parts of the initial state, [B, ...].
    private func initialState(batch: Int, _ pass: ForwardPass) -> CellState {
        var state = CellState()
        for (part, parameter) in [("readWeights", initialReadWeights), ("writeWeights", initialWriteWeights)] {
            if let parameter { state[part] = repeated(softmax(pass(parameter)), batch) }
        }
        for (part, parameter) in [("memory", initialMemory), ("reads", initialReads)] {
            if let parameter { state[part] = repeated(pass(parameter), batch) }
        }
        return state
    }
}
