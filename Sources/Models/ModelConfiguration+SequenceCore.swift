// Models that read one position after the other, as the run file's section `model` says them.

import Configuration
import Diagnostics
import Memory
import NeuralNetworks

extension ModelConfiguration {
    /// What reads the positions of a recurrent model; `nil` for other kinds.
    public var core: SequenceCoreConfiguration? {
        if let cell = kind.recurrentCell {
            var options = recurrent
            options.dropout = dropout
            return .recurrent(cell, layers: layers, width: width, options)
        }
        if let memoryCore { return memoryCore }
        switch kind {
        case .turingMachine:
            var machine = NeuralTuringMachineConfiguration()
            machine.controller = ControllerConfiguration(.lstm, width: width, layers: layers)
            return .turingMachine(machine)
        case .neuralComputer:
            return .neuralComputer(
                DifferentiableNeuralComputerConfiguration(
                    rows: 16, width: 16, readHeads: 4, controller: ControllerConfiguration(.lstm, width: width, layers: layers)))
        case .eraseAdd: return .eraseAdd(rows: 16, width: 16, units: width)
        default: return nil
        }
    }

    /// Reads the section `model` of a recurrent model over a corpus.
    ///
    /// Kinds of recurrent layers: `width`, `layers`, `labelSmoothing`, `embedding`, `carry` and the keys of `RecurrentOptions`. Kinds with a memory:
    /// the keys of `SequenceCoreConfiguration` (`width` is that of memory rows), `dropout`, `labelSmoothing`, `embedding` (the controller's width
    /// unless it says otherwise) and `carry`.
    /// - Precondition: `kind.isRecurrent`.
    /// - Throws: `UserError` (configuration).
    public init(recurrent kind: ModelKind, _ section: ConfigurationSection) throws {
        precondition(kind.isRecurrent, "\(kind) is no recurrent model")
        if let cell = kind.recurrentCell {
            let width = try section.int("width", in: 1...)
            self.init(kind: kind, layers: try section.int("layers", in: 1...), width: width, heads: 1)
            try readTraining(section)
            recurrent = try RecurrentOptions(section, cell: cell)
            dropout = recurrent.dropout
        } else {
            let core = try SequenceCoreConfiguration(section)
            self.init(kind: kind, layers: core.controllerLayers, width: core.controllerWidth, heads: 1)
            memoryCore = core
            try readTraining(section)
            dropout = Float(try section.double("dropout", default: 0, in: 0..<1))
            if carry { try core.requireConstantStart(section) }
        }
    }

    private mutating func readTraining(_ section: ConfigurationSection) throws {
        labelSmoothing = Float(try section.double("labelSmoothing", default: 0, in: 0..<1))
        embedding = try section.optionalInt("embedding", in: 1...)
        carry = try section.bool("carry", default: false)
    }
}
