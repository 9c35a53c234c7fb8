// What reads the steps of a sequence model: recurrent layers, or a controller with a memory, as the section `model` of a run file says.

import Configuration
import Diagnostics
import Memory
import NeuralNetworks
import Tensors

/// A core with all that decides its shape.
public protocol SequenceCoreConfiguration: Sendable, Equatable {
    /// Reads the keys of a kind, but for `kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ kind: ModelKind, _ section: ConfigurationSection) throws
    /// Its word in run files.
    var kind: ModelKind { get }
    /// D, the units of its recurrent layers or of its controller: the width of embeddings in front of it where the run file gives none.
    var units: Int { get }
    /// What its layers have beside cells, and what surrounds them has too; for cores of layers.
    var layerOptions: RecurrentOptions? { get }
    /// A key of the run file that asks for a learned initial memory; `nil` where nothing of it is learned.
    var learnedStart: String? { get }
    /// Declares the parameters of the core under `path`.
    /// - Parameters:
    ///   - inputs: I, the width of what it reads at every step.
    ///   - lifetime: how long its memory lasts.
    func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore
}

extension SequenceCoreConfiguration {
    public var layerOptions: RecurrentOptions? { nil }
    public var learnedStart: String? { nil }
}

/// Elman, LSTM or GRU layers.
public struct RecurrentLayersConfiguration: SequenceCoreConfiguration {
    /// What the layers are made of.
    public var cell: RecurrentCell
    /// L.
    public var layers = 1
    /// D.
    public var units: Int
    /// What the layers have beside their cells.
    public var options = RecurrentOptions()

    /// Layers of `units` units.
    public init(_ cell: RecurrentCell, layers: Int, units: Int, _ options: RecurrentOptions = RecurrentOptions()) {
        (self.cell, self.layers, self.units, self.options) = (cell, layers, units, options)
    }

    /// Reads `layers`, `width` and the keys of `RecurrentOptions`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        guard let cell = RecurrentCell(rawValue: kind.rawValue) else { fatalError("\(kind.rawValue) has no recurrent cells") }
        self.cell = cell
        layers = try section.int("layers", default: layers, in: 1...)
        units = try section.int("width", in: 1...)
        options = try RecurrentOptions(section, cell: cell)
    }

    public var kind: ModelKind {
        switch cell {
        case .elman: .elman
        case .lstm: .lstm
        case .gru: .gru
        case .gruResetBefore: .gruResetBefore
        }
    }
    public var layerOptions: RecurrentOptions? { options }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        RecurrentStack(store, path, cell: cell, inputs: inputs, width: units, layers: layers, options: options, lifetime: lifetime)
    }
}

extension RecurrentOptions {
    /// Reads the options of recurrent layers: `dropout`, `inputDropout`, `stateDropout`, `singleBias`, `forgetBias`, `initialBound`.
    /// - Throws: `UserError` (configuration).
    init(_ section: ConfigurationSection, cell: RecurrentCell) throws {
        self.init()
        dropout = try section.rate("dropout", default: dropout)
        inputDropout = try section.rate("inputDropout", default: inputDropout)
        stateDropout = try section.rate("stateDropout", default: stateDropout)
        initialBound = try section.optionalDouble("initialBound", in: Double.leastNonzeroMagnitude...).map { Float($0) }
        if cell == .elman || cell == .lstm { hasSingleBias = try section.bool("singleBias", default: hasSingleBias) }
        forgetBias = try section.optionalDouble("forgetBias").map { Float($0) }
        if forgetBias != nil, cell != .lstm {
            throw section.error("forgetBias", "goes with kind lstm, not with \(cell.rawValue)", advice: "set it to null")
        }
    }
}

extension ControllerConfiguration {
    /// Reads the section `controller` of a model with a memory: `kind` (lstm, recurrent, feed-forward), `width`, `layers`, `activation` (tanh,
    /// rectifier).
    /// - Throws: `UserError` (configuration).
    init(_ section: ConfigurationSection) throws {
        let standard = ControllerConfiguration()
        let kind = try section.choice("kind", default: standard.kind)
        self.init(
            kind, width: try section.int("width", default: standard.width, in: 1...),
            layers: try section.int("layers", default: standard.layers, in: 1...))
        if kind != .lstm { activation = try section.choice("activation", default: activation) }
    }
}

extension NeuralTuringMachineConfiguration: SequenceCoreConfiguration {
    /// Reads `rows`, `width`, `readHeads`, `writeHeads`, `shifts` (by how many rows a head can move either way), `limit`, `initialMemory`,
    /// `squashesKeys`, `squashesAdditions`, `learnsInitialReads`, `learnsInitialMemory`, `recompute` and the section `controller`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        self.init()
        rows = try section.int("rows", default: rows, in: 1...)
        width = try section.int("width", default: width, in: 1...)
        readHeads = try section.int("readHeads", default: readHeads, in: 1...)
        writeHeads = try section.int("writeHeads", default: writeHeads, in: 1...)
        let reach = try section.int("shifts", default: shifts.upperBound, in: 0...)
        guard 2 * reach < rows else { throw section.error("shifts", "is \(reach), too far for a memory of \(rows) rows") }
        shifts = -reach...reach
        limit = try section.float("limit", default: limit ?? .infinity, in: Double.leastNonzeroMagnitude...)
        initialMemory = try section.float("initialMemory", default: initialMemory)
        squashesKeys = try section.bool("squashesKeys", default: squashesKeys)
        squashesAdditions = try section.bool("squashesAdditions", default: squashesAdditions)
        learnsInitialReads = try section.bool("learnsInitialReads", default: learnsInitialReads)
        learnsInitialMemory = try section.bool("learnsInitialMemory", default: learnsInitialMemory)
        recompute = try section.bool("recompute", default: recompute)
        controller = try ControllerConfiguration(section.section("controller"))
    }

    public var kind: ModelKind { .turingMachine }
    public var units: Int { controller.width }
    public var learnedStart: String? { learnsInitialReads ? "learnsInitialReads" : learnsInitialMemory ? "learnsInitialMemory" : nil }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        NeuralTuringMachine(store, path, inputs: inputs, self, lifetime: lifetime)
    }
}

extension DifferentiableNeuralComputerConfiguration: SequenceCoreConfiguration {
    /// Reads `rows`, `width`, `readHeads`, `strength` (oneplus, softplus), `limit`, `stopsUsageGradient`, `masksKeys`, `erasesFreedRows`,
    /// `sharpensLinks`, `normalizesInterface`, `bypassDropout`, `recompute` and the section `controller`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        self.init(
            rows: try section.int("rows", default: 16, in: 1...), width: try section.int("width", default: 16, in: 1...),
            readHeads: try section.int("readHeads", default: 4, in: 1...), controller: try ControllerConfiguration(section.section("controller")))
        strength = try section.choice("strength", default: strength)
        interfaceClip = try section.float("limit", default: interfaceClip ?? .infinity, in: Double.leastNonzeroMagnitude...)
        stopsUsageGradient = try section.bool("stopsUsageGradient", default: stopsUsageGradient)
        masksKeys = try section.bool("masksKeys", default: masksKeys)
        erasesFreedRows = try section.bool("erasesFreedRows", default: erasesFreedRows)
        sharpensLinks = try section.bool("sharpensLinks", default: sharpensLinks)
        normalizesInterface = try section.bool("normalizesInterface", default: normalizesInterface)
        bypassDropout = try section.rate("bypassDropout", default: bypassDropout)
        recompute = try section.bool("recompute", default: recompute)
    }

    public var kind: ModelKind { .neuralComputer }
    public var units: Int { controller.width }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        DifferentiableNeuralComputer(store, path, inputs: inputs, self, lifetime: lifetime)
    }
}

/// The erase/add memory with a recurrent controller.
public struct EraseAddConfiguration: SequenceCoreConfiguration {
    /// N, rows of the memory.
    public var rows = 16
    /// W, their width.
    public var width = 16
    /// H, the controller's units.
    public var units = 100

    /// A memory of `rows` rows of `width`, and its controller.
    public init(rows: Int, width: Int, units: Int) { (self.rows, self.width, self.units) = (rows, width, units) }

    /// Reads `rows`, `width` and the section `controller`, which has a `width`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        rows = try section.int("rows", default: rows, in: 1...)
        width = try section.int("width", default: width, in: 1...)
        units = try section.section("controller").int("width", default: units, in: 1...)
    }

    public var kind: ModelKind { .eraseAdd }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        EraseAddMemory(store, path, inputs: inputs, rows: rows, width: width, units: units, lifetime: lifetime)
    }
}
