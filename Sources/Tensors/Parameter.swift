// Parameters: named tensors in one flat memory, with their gradients in another.

import Diagnostics
import Foundation
import Kernels

/// How a parameter's values start.
public enum Initializer: Sendable {
    case zeros, ones
    case constant(Float)
    /// Parts of equal size along the first axis, each of one value: a bias that differs from gate to gate.
    case parts([Float])
    /// One value on the diagonal of the last two extents, 0 elsewhere.
    case diagonal(Float)
    /// Normal distribution, mean 0.
    case normal(standardDeviation: Float)
    /// The same but for the first row, which is zero: a table whose row 0 stands for padding.
    case paddedNormal(standardDeviation: Float)
    /// Uniform on -bound ... bound.
    case uniform(bound: Float)
    /// Uniform with bound sqrt(6 / (fanIn + fanOut)), from the last two extents (Glorot and Bengio 2010).
    case xavierUniform
    /// The logarithm of a number uniform on 0 ..< bound.
    case logarithmOfUniform(upTo: Float)
    /// Numbers whose softplus is uniform on a logarithmic scale: where time constants start that span decades.
    case inverseSoftplusOfLogUniform(from: Float, to: Float)
}

/// A named tensor that is trained.
public final class Parameter {
    /// The stable path, such as `blocks.0.attention.qkv.weight`.
    public let name: String
    /// The extents.
    public let shape: Shape
    /// True when weight decay applies (matrices, not biases or norm gains).
    public let decays: Bool
    /// True for rows that are found by an address, of which each is trained rarely: they have a learning rate of their own.
    public let isTable: Bool
    /// The place in the store's order.
    public let index: Int
    /// How the values start.
    public let initializer: Initializer
    /// The first element's place in the flat memory, in elements.
    public internal(set) var offset = 0
    /// The values: a window into the store's flat memory.
    public internal(set) var value: Tensor
    /// What form the gradient has, as it was declared.
    public let gradientForm: GradientForm
    /// The window into the store's flat gradient memory. Undefined as long as the gradient is rows.
    var denseGradient: Tensor
    /// Where rows gather; `nil` for a parameter whose gradient is dense, and without gradient memory.
    private var rows: RowGradient?
    /// Whether the gradient of this step is in `rows`.
    private var holdsRows = false
    /// The values in the type of activations, as operand of matrix products: `value` itself, or a window into the store's bfloat16 copy.
    public internal(set) var operand: Tensor
    /// Makes products of a constant parameter with few rows faster; `nil` for parameters that are trained.
    public internal(set) var packedOperand: PackedOperand?
    /// The type that layers give their activations: what the store was allocated with.
    public internal(set) var activationType = DataType.float32
    /// False until the first contribution of a step, which is stored instead of added.
    public internal(set) var hasGradient = false

    /// The gradient: a window into the store's flat gradient memory. Rows are made dense by reading it, and are dense until the step ends; before their
    /// first contribution it is 0.
    public var gradient: Tensor {
        makeGradientDense()
        if gradientForm == .rows, !hasGradient { kernels.fill(denseGradient.floats, 0, denseGradient.storage.byteCount == 0 ? 0 : shape.count) }
        return denseGradient
    }

    /// The gradient of this step where it is rows; `nil` where it is dense, or not there.
    public var rowGradient: RowGradient? { holdsRows ? rows : nil }

    /// Writes a gradient that is rows to the flat gradient memory, where it stays until the step ends: V x D writes.
    public func makeGradientDense() {
        guard holdsRows else { return }
        holdsRows = false
        rows?.scatter(to: denseGradient.floats)
    }

    /// Where rows gather in this step; `nil` when they gather in dense memory.
    func gatheringRows() -> RowGradient? {
        guard let rows else { return nil }
        if hasGradient { return rowGradient }
        rows.clear()
        (hasGradient, holdsRows) = (true, true)
        return rows
    }

    /// Makes a gradient that got no contribution in this step zero.
    func zeroMissingGradient() {
        if hasGradient || gatheringRows() != nil { return }
        kernels.fill(denseGradient.floats, 0, shape.count)
        hasGradient = true
    }

    /// Forgets the gradient.
    func clearGradient() { (hasGradient, holdsRows) = (false, false) }

    /// Gives it its place in gradient memory.
    func placeGradient(_ storage: Storage) {
        denseGradient = Tensor(storage: storage, offset: offset, shape: shape, dataType: .float32)
        if gradientForm == .rows { rows = RowGradient(tableRows: shape[0], width: shape[1]) }
    }

    init(name: String, shape: Shape, decays: Bool, isTable: Bool, index: Int, initializer: Initializer, gradientForm: GradientForm) {
        self.name = name
        self.shape = shape
        self.decays = decays
        self.isTable = isTable
        self.index = index
        self.initializer = initializer
        self.gradientForm = gradientForm
        let nothing = Tensor(storage: Storage(byteCount: 0), offset: 0, shape: shape, dataType: .float32)
        value = nothing
        denseGradient = nothing
        operand = nothing
    }
}

/// All parameters of a model, in the order in which the forward pass uses them.
///
/// Layers call `add` while the model is built; `allocate` then lays all of them out in one flat buffer (each on a 64-byte boundary) and
/// fills in the starting values. Every parameter's starting values depend on the seed and on its name alone.
public final class ParameterStore {
    /// The parameters by index.
    public private(set) var parameters: [Parameter] = []
    private var names: [String: Int] = [:]
    private var flatValues: Storage?
    private var flatGradients: Storage?
    private var flatOperands: Storage?
    /// The length of the flat buffers in elements, padding included.
    public private(set) var flatCount = 0
    /// The type of activations: what the store was allocated with.
    public private(set) var activationType = DataType.float32

    /// Makes an empty store.
    public init() {}

    /// Declares a parameter. Names must be unique.
    /// - Parameter gradient: `.rows` for a table [V, D] of which a step reads few rows. Whatever its operations contribute, and whoever reads it, the
    ///   gradient is bit for bit the dense one; a contribution to the whole table makes it dense for that step.
    public func add(
        _ name: String, _ shape: Shape, _ initializer: Initializer, decays: Bool? = nil, isTable: Bool = false, gradient: GradientForm = .dense
    ) -> Parameter {
        require(flatValues == nil, "parameter \(name) was added after allocation")
        require(names[name] == nil, "two parameters are named \(name)")
        require(gradient == .dense || shape.rank == 2, "the gradient of \(name), of shape \(shape), has no rows")
        let parameter = Parameter(
            name: name, shape: shape, decays: decays ?? (shape.rank >= 2), isTable: isTable, index: parameters.count, initializer: initializer,
            gradientForm: gradient)
        names[name] = parameter.index
        parameters.append(parameter)
        return parameter
    }

    /// The parameter of that name.
    public subscript(name: String) -> Parameter? { names[name].map { parameters[$0] } }

    /// The number of trained values, padding excluded.
    public var parameterCount: Int { parameters.reduce(0) { $0 + $1.shape.count } }

    /// Lays out the flat memory and fills in the starting values.
    /// - Parameters:
    ///   - seed: the run's seed; `nil` leaves all values 0, for those that are read from elsewhere or filled in later.
    ///   - gradients: false for inference: no gradient memory.
    ///   - activations: the type of activations and of operands of matrix products. With bfloat16 the store keeps a rounded copy of all values
    ///     (the values themselves stay float32), which the optimizer or `refreshOperands` brings up to date.
    public func allocate(seed: UInt64?, gradients: Bool = true, activations: DataType = .float32) {
        require(flatValues == nil, "the store was already allocated")
        flatCount = 0
        activationType = activations
        for parameter in parameters {
            parameter.offset = flatCount
            flatCount += (parameter.shape.count + 15) / 16 * 16
        }
        let values = Storage(byteCount: max(flatCount, 1) * 4)
        let gradientStorage = gradients ? Storage(byteCount: max(flatCount, 1) * 4) : nil
        kernels.fill(values.pointer.assumingMemoryBound(to: Float.self), 0, flatCount)
        flatValues = values
        flatGradients = gradientStorage
        for parameter in parameters {
            parameter.value = Tensor(storage: values, offset: parameter.offset, shape: parameter.shape, dataType: .float32)
            if let gradientStorage {
                parameter.placeGradient(gradientStorage)
                let written = parameter.gradientForm == .rows ? parameter.shape.count : 0
                kernels.fill(parameter.denseGradient.floats + written, 0, (parameter.shape.count + 15) / 16 * 16 - written)
            }
            parameter.activationType = activations
            parameter.operand = parameter.value
        }
        if activations == .bfloat16 {
            let operands = Storage(byteCount: max(flatCount, 1) * 2)
            flatOperands = operands
            for parameter in parameters {
                parameter.operand = Tensor(storage: operands, offset: parameter.offset, shape: parameter.shape, dataType: .bfloat16)
            }
        }
        if let seed { initialize(seed: seed) } else { refreshOperands() }
    }

    /// Fills in the starting values, several parameters at a time.
    public func initialize(seed: UInt64) {
        Workers.parallel(parameters.count, minimum: 1) { range in
            for index in range { initialize(parameters[index], seed: seed) }
        }
        refreshOperands()
    }

    /// Forgets what was packed from earlier values.
    private func resetPackedOperands() {
        guard flatGradients == nil else { return }
        for parameter in parameters where parameter.shape.rank == 2 { parameter.packedOperand = PackedOperand(parameter.operand) }
    }

    /// The flat bfloat16 copy of the values; `nil` when activations are float32.
    public var operands: UnsafeMutablePointer<UInt16>? { flatOperands?.pointer.assumingMemoryBound(to: UInt16.self) }

    /// Rounds all values into the bfloat16 copy: after they were read or written other than by an optimizer. Nothing when activations are float32.
    public func refreshOperands() {
        resetPackedOperands()
        guard let operands, let values = values.baseAddress else { return }
        Workers.parallel(flatCount, minimum: 1 << 16) { range in
            kernels.convert(Elements(operands + range.lowerBound, .bfloat16), Elements(values + range.lowerBound), range.count)
        }
    }

    /// The flat values, padding included (padding is zero).
    public var values: UnsafeMutableBufferPointer<Float> { flat(flatValues) }
    /// The flat gradients, padding included (padding is zero). Gradients that are rows are made dense.
    public var gradients: UnsafeMutableBufferPointer<Float> {
        for parameter in parameters where parameter.gradientForm == .rows { _ = parameter.gradient }
        return gradientMemory
    }
    /// The memory of the flat gradients as it stands, undefined where a gradient is rows.
    public var gradientMemory: UnsafeMutableBufferPointer<Float> { flat(flatGradients) }

    private func flat(_ storage: Storage?) -> UnsafeMutableBufferPointer<Float> {
        guard let storage else { fatalError("the store has no such memory: call allocate first") }
        return UnsafeMutableBufferPointer(start: storage.pointer.assumingMemoryBound(to: Float.self), count: flatCount)
    }

    /// Forgets the gradients of the last step: the next contribution to each is stored, not added.
    public func clearGradients() {
        for parameter in parameters { parameter.clearGradient() }
    }

    /// Makes the gradients that got no contribution zero.
    public func zeroMissingGradients() {
        for parameter in parameters { parameter.zeroMissingGradient() }
    }

    private func initialize(_ parameter: Parameter, seed: UInt64) {
        var random = RandomStream(seed: seed, name: parameter.name)
        let values = UnsafeMutableBufferPointer(start: parameter.value.floats, count: parameter.shape.count)
        switch parameter.initializer {
        case .zeros: values.update(repeating: 0)
        case .ones: values.update(repeating: 1)
        case .constant(let constant): values.update(repeating: constant)
        case .parts(let parts):
            require(parts.count > 0 && values.count % parts.count == 0, "\(parts.count) equal parts of \(values.count) values of \(parameter.name)")
            let size = values.count / parts.count
            for index in values.indices { values[index] = parts[index / size] }
        case .diagonal(let value):
            let (rows, columns) = (parameter.shape[-2], parameter.shape.columns)
            for index in values.indices { values[index] = index / columns % rows == index % columns ? value : 0 }
        case .normal(let deviation): for index in values.indices { values[index] = deviation * random.nextNormal() }
        case .paddedNormal(let deviation):
            for index in values.indices { values[index] = index < parameter.shape.columns ? 0 : deviation * random.nextNormal() }
        case .uniform(let bound): for index in values.indices { values[index] = bound * (2 * random.nextUniform() - 1) }
        case .xavierUniform:
            let bound = (6 / Float(parameter.shape[-1] + parameter.shape[-2])).squareRoot()
            for index in values.indices { values[index] = bound * (2 * random.nextUniform() - 1) }
        case .logarithmOfUniform(let bound):
            // The middle of each of the 2^24 steps of the draw: never the logarithm of 0.
            for index in values.indices { values[index] = Float(log(Double(bound) * (Double(random.nextUniform()) + 0x1p-25))) }
        case .inverseSoftplusOfLogUniform(let first, let last):
            for index in values.indices {
                let value = Double(first) * pow(Double(last) / Double(first), Double(random.nextUniform()))
                values[index] = Float(value + log(-expm1(-value)))
            }
        }
    }
}
