// What reads the steps of a sequence model: recurrent layers, or a controller with a memory, as the section `model` of a run file says.

import Configuration
import Diagnostics
import Memory
import NeuralNetworks
import Tensors

/// A core by its kind, with all that decides its shape.
public enum SequenceCoreConfiguration: Sendable, Equatable {
    /// Elman, LSTM or GRU layers.
    case recurrent(RecurrentCell, layers: Int, width: Int, RecurrentOptions)
    /// A Neural Turing Machine.
    case turingMachine(NeuralTuringMachineConfiguration)
    /// A Differentiable Neural Computer.
    case neuralComputer(DifferentiableNeuralComputerConfiguration)
    /// A memory that is erased and added to at softmax addresses.
    case eraseAdd(rows: Int, width: Int, units: Int)

    /// The words that `model.kind` may be.
    public static let kinds = RecurrentCell.allCases.map(\.rawValue) + ["ntm", "dnc", "erase-add"]

    /// Its word.
    public var kind: String {
        switch self {
        case .recurrent(let cell, _, _, _): cell.rawValue
        case .turingMachine: "ntm"
        case .neuralComputer: "dnc"
        case .eraseAdd: "erase-add"
        }
    }

    /// How many recurrent layers, or layers of the controller, it has.
    public var controllerLayers: Int {
        switch self {
        case .recurrent(_, let layers, _, _): layers
        case .turingMachine(let machine): machine.controller.layers
        case .neuralComputer(let computer): computer.controller.layers
        case .eraseAdd: 1
        }
    }
    /// The units of each of them.
    public var controllerWidth: Int {
        switch self {
        case .recurrent(_, _, let width, _): width
        case .turingMachine(let machine): machine.controller.width
        case .neuralComputer(let computer): computer.controller.width
        case .eraseAdd(_, _, let units): units
        }
    }

    /// Makes sure that nothing of the initial memory is learned: a lane that carries its memory on starts only once.
    /// - Throws: `UserError` (configuration).
    func requireConstantStart(_ section: ConfigurationSection) throws {
        guard case .turingMachine(let machine) = self else { return }
        let learned = [("learnsInitialReads", machine.learnsInitialReads), ("learnsInitialMemory", machine.learnsInitialMemory)].filter(\.1)
        if let (key, _) = learned.first {
            throw section.error(
                key, "does not go with carry: a lane starts only once, and nothing would be learned", advice: "set one of them to false")
        }
    }

    /// Reads `kind` and the keys of that kind.
    /// - Throws: `UserError` (configuration).
    public init(_ section: ConfigurationSection) throws {
        let kind = try section.choice("kind", of: Self.kinds)
        switch kind {
        case "ntm": self = .turingMachine(try NeuralTuringMachineConfiguration(section))
        case "dnc": self = .neuralComputer(try DifferentiableNeuralComputerConfiguration(section))
        case "erase-add":
            self = .eraseAdd(
                rows: try section.int("rows", default: 16, in: 1...), width: try section.int("width", default: 16, in: 1...),
                units: try section.section("controller").int("width", default: 100, in: 1...))
        default:
            guard let cell = RecurrentCell(rawValue: kind) else { preconditionFailure("no core is made for the kind '\(kind)'") }
            self = try Self.recurrent(cell, section)
        }
    }

    private static func recurrent(_ cell: RecurrentCell, _ section: ConfigurationSection) throws -> SequenceCoreConfiguration {
        .recurrent(
            cell, layers: try section.int("layers", default: 1, in: 1...), width: try section.int("width", in: 1...),
            try RecurrentOptions(section, cell: cell))
    }

    /// Declares the parameters of the core under `path`.
    /// - Parameters:
    ///   - inputs: I, the width of what it reads at every step.
    ///   - lifetime: of its memory.
    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int, lifetime: MemoryLifetime = .sequence) -> any SequenceCore {
        switch self {
        case .recurrent(let cell, let layers, let width, let options):
            RecurrentStack(store, path, cell: cell, inputs: inputs, width: width, layers: layers, options: options, lifetime: lifetime)
        case .turingMachine(let configuration): NeuralTuringMachine(store, path, inputs: inputs, configuration, lifetime: lifetime)
        case .neuralComputer(let configuration): DifferentiableNeuralComputer(store, path, inputs: inputs, configuration, lifetime: lifetime)
        case .eraseAdd(let rows, let width, let units):
            EraseAddMemory(
                store, path, inputs: inputs, rows: rows, width: width, units: units, activation: .hyperbolicTangent, lifetime: lifetime)
        }
    }
}

extension RecurrentOptions {
    /// Reads the options of recurrent layers: `dropout`, `inputDropout`, `stateDropout`, `singleBias`, `forgetBias`, `initialBound`.
    /// - Throws: `UserError` (configuration).
    public init(_ section: ConfigurationSection, cell: RecurrentCell) throws {
        self.init(
            dropout: Float(try section.double("dropout", default: 0, in: 0..<1)),
            inputDropout: Float(try section.double("inputDropout", default: 0, in: 0..<1)),
            stateDropout: Float(try section.double("stateDropout", default: 0, in: 0..<1)))
        initialBound = try section.optionalDouble("initialBound", in: Double.leastNonzeroMagnitude...).map { Float($0) }
        if cell == .elman || cell == .lstm { hasSingleBias = try section.bool("singleBias", default: false) }
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
        let kind = try section.choice("kind", default: Kind.lstm)
        self.init(kind, width: try section.int("width", default: 100, in: 1...), layers: try section.int("layers", default: 1, in: 1...))
        if kind != .lstm { activation = try section.choice("activation", default: .hyperbolicTangent) }
    }
}

extension NeuralTuringMachineConfiguration {
    /// Reads `rows`, `width`, `readHeads`, `writeHeads`, `shifts` (by how many rows a head can move either way), `limit`, `initialMemory`,
    /// `squashesKeys`, `squashesAdditions`, `learnsInitialReads`, `learnsInitialMemory`, `recompute` and the section `controller`.
    /// - Throws: `UserError` (configuration).
    init(_ section: ConfigurationSection) throws {
        self.init()
        rows = try section.int("rows", default: rows, in: 1...)
        width = try section.int("width", default: width, in: 1...)
        readHeads = try section.int("readHeads", default: readHeads, in: 1...)
        writeHeads = try section.int("writeHeads", default: writeHeads, in: 1...)
        let reach = try section.int("shifts", default: 1, in: 0...)
        guard 2 * reach < rows else { throw section.error("shifts", "is \(reach), too far for a memory of \(rows) rows") }
        shifts = -reach...reach
        limit = Float(try section.double("limit", default: 20, in: Double.leastNonzeroMagnitude...))
        initialMemory = Float(try section.double("initialMemory", default: 1e-6))
        squashesKeys = try section.bool("squashesKeys", default: squashesKeys)
        squashesAdditions = try section.bool("squashesAdditions", default: squashesAdditions)
        learnsInitialReads = try section.bool("learnsInitialReads", default: false)
        learnsInitialMemory = try section.bool("learnsInitialMemory", default: false)
        recompute = try section.bool("recompute", default: false)
        controller = try ControllerConfiguration(section.section("controller"))
    }
}

extension DifferentiableNeuralComputerConfiguration {
    /// Reads `rows`, `width`, `readHeads`, `strength` (oneplus, softplus), `limit`, `stopsUsageGradient`, `masksKeys`, `erasesFreedRows`,
    /// `sharpensLinks`, `normalizesInterface`, `bypassDropout`, `recompute` and the section `controller`.
    /// - Throws: `UserError` (configuration).
    init(_ section: ConfigurationSection) throws {
        self.init(
            rows: try section.int("rows", default: 16, in: 1...), width: try section.int("width", default: 16, in: 1...),
            readHeads: try section.int("readHeads", default: 4, in: 1...), controller: try ControllerConfiguration(section.section("controller")))
        strength = try section.choice("strength", default: .onePlus)
        interfaceClip = Float(try section.double("limit", default: 20, in: Double.leastNonzeroMagnitude...))
        stopsUsageGradient = try section.bool("stopsUsageGradient", default: false)
        masksKeys = try section.bool("masksKeys", default: false)
        erasesFreedRows = try section.bool("erasesFreedRows", default: false)
        sharpensLinks = try section.bool("sharpensLinks", default: false)
        normalizesInterface = try section.bool("normalizesInterface", default: false)
        bypassDropout = Float(try section.double("bypassDropout", default: 0, in: 0..<1))
        recompute = try section.bool("recompute", default: false)
    }
}
