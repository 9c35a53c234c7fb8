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
    /// Its layers, one on top of the other; 1 for a memory with its controller.
    var layers: Int { get }
    /// What its layers have beside cells, and what surrounds them has too; for cores of layers.
    var layerOptions: RecurrentOptions? { get }
    /// The rate of dropout that its layers have, and what surrounds them has too; `nil` for a core without such a rate.
    var layerDropout: Float? { get }
    /// Whether the output layer shares the table of embeddings where that is as wide as the core: for a residual stream from the one to the other.
    var tiesEmbedding: Bool { get }
    /// A key of the run file that asks for a learned initial memory; `nil` where nothing of it is learned.
    var learnedStart: String? { get }
    /// Declares the parameters of the core under `path`.
    /// - Parameters:
    ///   - inputs: I, the width of what it reads at every step.
    ///   - lifetime: how long its memory lasts.
    func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore
}

extension SequenceCoreConfiguration {
    public var layers: Int { 1 }
    public var layerOptions: RecurrentOptions? { nil }
    public var layerDropout: Float? { layerOptions?.dropout }
    public var tiesEmbedding: Bool { false }
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
        layers = try section.int("layers", "Recurrent layers, one on top of the other.", default: layers, in: SizeLimits.layers)
        units = try section.int("width", "The units of each layer.", in: SizeLimits.width)
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
        dropout = try section.rate(
            "dropout", "The rate of dropout between layers, and before and behind them in a language model.", default: dropout)
        inputDropout = try section.rate(
            "inputDropout", "The rate of dropout on each layer's input, one mask for a whole sequence.", default: inputDropout)
        stateDropout = try section.rate(
            "stateDropout", "The rate of dropout on the state that a step reads, one mask for a whole sequence.", default: stateDropout)
        initialBound = try section.optionalDouble(
            "initialBound", "Parameters start uniform between minus and plus this.", defaultText: "1 divided by the root of model.width",
            in: Double.leastNonzeroMagnitude...
        ).map { Float($0) }
        if cell == .elman || cell == .lstm {
            hasSingleBias = try section.bool(
                "singleBias", "One bias for input and state together instead of one for each.", default: hasSingleBias)
        }
        forgetBias = try section.optionalDouble(
            "forgetBias", "The forget gates' bias at the start, all other biases then starting at zero; of LSTM layers alone.",
            defaultText: "biases start as weights do"
        ).map { Float($0) }
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
        let kind = try section.choice("kind", "What the controller is.", default: standard.kind)
        self.init(
            kind, width: try section.controllerWidth(default: standard.width),
            layers: try section.int("layers", "Layers of the controller.", default: standard.layers, in: SizeLimits.layers))
        if kind != .lstm { activation = try section.choice("activation", "What the units' sums go through.", default: activation) }
    }
}

extension NeuralTuringMachineConfiguration: SequenceCoreConfiguration {
    /// Reads `rows`, `width`, `readHeads`, `writeHeads`, `shifts` (by how many rows a head can move either way), `limit`, `initialMemory`,
    /// `squashesKeys`, `squashesAdditions`, `learnsInitialReads`, `learnsInitialMemory`, `recompute` and the section `controller`.
    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        self.init()
        rows = try section.memoryRows(default: rows)
        width = try section.rowWidth(default: width)
        readHeads = try section.readHeads(default: readHeads)
        writeHeads = try section.int("writeHeads", "Heads that write.", default: writeHeads, in: SizeLimits.memoryHeads)
        let reach = try section.int(
            "shifts", "By how many rows a head can move either way at a step.", default: shifts.upperBound, in: 0...1024)
        guard 2 * reach < rows else { throw section.error("shifts", "is \(reach), too far for a memory of \(rows) rows") }
        shifts = -reach...reach
        limit = try section.limit(default: limit)
        initialMemory = try section.float("initialMemory", "What every element of the memory starts with.", default: initialMemory)
        squashesKeys = try section.bool("squashesKeys", "Keys go through tanh.", default: squashesKeys)
        squashesAdditions = try section.bool(
            "squashesAdditions", "What is added to the memory goes through tanh.", default: squashesAdditions)
        learnsInitialReads = try section.bool(
            "learnsInitialReads", "Where the heads point before the first step, and what they have read there, is learned.",
            default: learnsInitialReads)
        learnsInitialMemory = try section.bool(
            "learnsInitialMemory", "The initial memory is learned, starting from model.initialMemory.", default: learnsInitialMemory)
        recompute = try section.recompute(default: recompute)
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
            rows: try section.memoryRows(default: 16), width: try section.rowWidth(default: 16),
            readHeads: try section.readHeads(default: 4), controller: try ControllerConfiguration(section.section("controller")))
        strength = try section.choice(
            "strength", "What makes the strengths of content addressing out of the controller's numbers.", default: strength)
        interfaceClip = try section.limit(default: interfaceClip)
        stopsUsageGradient = try section.bool(
            "stopsUsageGradient", "No gradient flows back from the usage of rows to the write weights.", default: stopsUsageGradient)
        masksKeys = try section.bool("masksKeys", "Keys are compared in the dimensions that a learned mask selects.", default: masksKeys)
        erasesFreedRows = try section.bool("erasesFreedRows", "Rows that are freed are wiped.", default: erasesFreedRows)
        sharpensLinks = try section.bool("sharpensLinks", "Temporal links can be sharpened.", default: sharpensLinks)
        normalizesInterface = try section.bool(
            "normalizesInterface", "The numbers that the controller gives the memory are normalised.", default: normalizesInterface)
        bypassDropout = try section.rate(
            "bypassDropout", "The rate of dropout on what goes from the controller past the memory to the output.", default: bypassDropout)
        recompute = try section.recompute(default: recompute)
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
        rows = try section.memoryRows(default: rows)
        width = try section.rowWidth(default: width)
        units = try section.section("controller").controllerWidth(default: units)
    }

    public var kind: ModelKind { .eraseAdd }

    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime) -> any SequenceCore {
        EraseAddMemory(store, path, inputs: inputs, rows: rows, width: width, units: units, lifetime: lifetime)
    }
}

/// Keys that several memories have.
extension ConfigurationSection {
    fileprivate func memoryRows(default value: Int) throws -> Int { try int("rows", "Rows of the memory.", default: value, in: SizeLimits.width) }
    fileprivate func readHeads(default value: Int) throws -> Int { try int("readHeads", "Heads that read.", default: value, in: SizeLimits.memoryHeads) }

    fileprivate func rowWidth(default value: Int) throws -> Int {
        try int("width", "The width of a row of the memory.", default: value, in: SizeLimits.width)
    }

    fileprivate func controllerWidth(default value: Int) throws -> Int {
        try int("width", "Units of each layer of the controller.", default: value, in: SizeLimits.width)
    }

    /// `limit`, infinity for none.
    fileprivate func limit(default value: Float?) throws -> Float {
        try float(
            "limit", "The controller's numbers for the memory are cut to between minus and plus this.", default: value ?? .infinity,
            in: Double.leastNonzeroMagnitude...)
    }
}
