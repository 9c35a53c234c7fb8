// What a model says about its memory, so that training, checkpoints and inspection need to know nothing else about the model.
//
// Legend: B sequences of a batch, one a lane.

import Diagnostics
import Tensors

/// How long a memory lives.
public enum MemoryLifetime: String, Sendable, CaseIterable {
    /// It starts anew with every sequence: working memory.
    case sequence
    /// It goes on from batch to batch of a lane, without gradient between them: segment memory.
    case lane
    /// It lasts as long as the run, and is shared by all lanes: a memory bank.
    case run
}

/// What a memory holds before anything was written to it.
public enum InitialMemory: Sendable, Equatable {
    /// One value everywhere.
    case constant(Float)
    /// The values of a parameter of the same shape, which are learned.
    case parameter(String)
    /// 1 at one index of the last axis and 0 elsewhere: weights that point at one row.
    case oneHot(Int)
    /// The softmax over the last axis of a parameter of the same shape: weights that are learned.
    case softmax(ofParameter: String)
    /// The rows of a parameter of the same shape, each divided by its length: vectors of length 1 whose directions are learned.
    case unitRows(ofParameter: String)
    /// The sums of two parameters, which are learned: a number for each row, and for each of H parts of the rows one for each column.
    case sums(ofRows: String, andColumns: String)

    /// The values for one sequence.
    /// - Parameters:
    ///   - shape: of the declaration.
    ///   - store: has the parameter that is named, allocated, with as many values.
    public func values(_ shape: Shape, _ store: ParameterStore) -> [Float] {
        func values(_ name: String) -> [Float] {
            guard let parameter = store[name] else { fatalError("memory of shape \(shape) starts from \(name), which is no parameter") }
            return parameter.value.array
        }
        func parameter(_ name: String) -> [Float] {
            let values = values(name)
            require(values.count == shape.count, "memory of shape \(shape) starts from \(name), which is no parameter of its shape")
            return values
        }
        switch self {
        case .constant(let value): return [Float](repeating: value, count: shape.count)
        case .parameter(let name): return parameter(name)
        case .oneHot(let index): return (0..<shape.count).map { $0 % shape.columns == index ? 1 : 0 }
        case .softmax(let name): return Tensors.softmax(Tensor(parameter(name), shape)).array
        case .unitRows(let name): return unitLength(Tensor(parameter(name), shape)).array
        case .sums(let rowName, let columnName):
            let (rows, columns, width) = (values(rowName), values(columnName), shape.columns)
            require(rows.count * width == shape.count, "memory of shape \(shape) starts from \(rows.count) numbers of rows")
            let rowsOfPart = rows.count * width / columns.count
            return (0..<shape.count).map { rows[$0 / width] + columns[$0 / width / rowsOfPart * width + $0 % width] }
        }
    }
}

extension InitialMemory: CustomStringConvertible {
    public var description: String {
        switch self {
        case .constant(let value): value == value.rounded() && abs(value) < 1e9 ? "\(Int(value))" : "\(value)"
        case .parameter(let name): name
        case .oneHot(let index): "1 at \(index)"
        case .softmax(let name): "softmax of \(name)"
        case .unitRows(let name): "\(name), rows of length 1"
        case .sums(let rows, let columns): "sums of \(rows) and \(columns)"
        }
    }
}

/// One named piece of a model's memory.
public struct MemoryDeclaration: Sendable, Equatable {
    /// A stable path, such as `core.0.hidden`: the name in checkpoints and in what is shown.
    public var name: String
    /// The extents for one sequence, without the batch axis; for lifetime `run`, of the whole bank.
    public var shape: Shape
    /// What each axis counts, such as `slot` or `unit`.
    public var axes: [String]
    /// How long the values last.
    public var lifetime: MemoryLifetime
    /// What a sequence, a lane or a bank starts with.
    public var initial: InitialMemory

    /// - Precondition: there is a name for every axis.
    public init(_ name: String, _ shape: Shape, axes: [String], lifetime: MemoryLifetime = .sequence, initial: InitialMemory = .constant(0)) {
        require(axes.count == shape.rank, "\(name) has shape \(shape) and axes \(axes)")
        self.name = name
        self.shape = shape
        self.axes = axes
        self.lifetime = lifetime
        self.initial = initial
    }
}

/// The values of a module's memory for B sequences: one float32 tensor [B, shape...] for each of its declarations, in their order.
public struct MemoryState {
    /// float32 [B, shape...] for each declaration.
    public var tensors: [Tensor]

    /// The values in the order of the declarations, which is not checked.
    public init(_ tensors: [Tensor]) { self.tensors = tensors }

    /// The same values off any tape: no gradient flows back into the calls that made them.
    public func stopGradient() -> MemoryState { MemoryState(tensors.map { $0.stopGradient() }) }
}

/// A network that reads sequences step by step and remembers what it has read.
public protocol SequenceCore {
    /// F, the width of what it gives at every step.
    var outputWidth: Int { get }
    /// What it remembers from step to step.
    var memory: [MemoryDeclaration] { get }
    /// Reads whole sequences.
    /// - Parameters:
    ///   - x: [B, T, I].
    ///   - state: what was remembered before the first step; `nil` for the initial values.
    /// - Returns: [B, T, F], and what is remembered after the last step, on the tape.
    func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState)
}
