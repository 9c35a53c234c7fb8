// What reads the steps of a sequence model: recurrent layers, or a controller with a memory, as the section `model` of a run file says.

import Configuration
import Diagnostics
import NeuralNetworks
import Tensors

/// A core by its kind, with all that decides its shape.
public enum SequenceCoreConfiguration: Sendable, Equatable {
    /// Elman, LSTM or GRU layers.
    case recurrent(RecurrentCell, layers: Int, width: Int, RecurrentOptions)

    /// The words that `model.kind` may be.
    public static let kinds = RecurrentCell.allCases.map(\.rawValue)

    /// Its word.
    public var kind: String {
        switch self {
        case .recurrent(let cell, _, _, _): cell.rawValue
        }
    }

    /// Reads `kind` and the keys of that kind.
    /// - Throws: `UserError` (configuration).
    public init(_ section: ConfigurationSection) throws {
        let kind = try section.choice("kind", of: Self.kinds)
        guard let cell = RecurrentCell(rawValue: kind) else { preconditionFailure("no core is made for the kind '\(kind)'") }
        self = .recurrent(
            cell, layers: try section.int("layers", default: 1, in: 1...), width: try section.int("width", in: 1...),
            try RecurrentOptions(section, cell: cell))
    }

    /// Declares the parameters of the core under `path`.
    /// - Parameter inputs: I, the width of what it reads at every step.
    public func makeCore(_ store: ParameterStore, _ path: String, inputs: Int) -> any SequenceCore {
        switch self {
        case .recurrent(let cell, let layers, let width, let options):
            RecurrentStack(store, path, cell: cell, inputs: inputs, width: width, layers: layers, options: options)
        }
    }
}

extension RecurrentOptions {
    /// Reads the options of recurrent layers: `dropout`, `inputDropout`, `stateDropout`, `singleBias`, `forgetBias`, `initialBound`.
    /// - Throws: `UserError` (configuration).
    public init(_ section: ConfigurationSection, cell: RecurrentCell) throws {
        self.init(
            dropout: Float(try section.double("dropout", default: 0, in: 0..<1)), inputDropout: Float(try section.double("inputDropout", default: 0, in: 0..<1)),
            stateDropout: Float(try section.double("stateDropout", default: 0, in: 0..<1)))
        initialBound = try section.optionalDouble("initialBound", in: Double.leastNonzeroMagnitude...).map { Float($0) }
        if cell == .elman || cell == .lstm { hasSingleBias = try section.bool("singleBias", default: false) }
        forgetBias = try section.optionalDouble("forgetBias").map { Float($0) }
        if forgetBias != nil, cell != .lstm { throw section.error("forgetBias", "goes with kind lstm, not with \(cell.rawValue)", advice: "set it to null") }
    }
}
