// A checkpoint of another run as the beginning of a new one: fine-tuning, continued pretraining.

import Checkpoints
import Collectives
import Diagnostics

/// What `train --from` asks for.
public struct StartingPoint: Sendable {
    /// A checkpoint, or a run directory: its newest.
    public var path: String
    /// Whether only parameters are taken; otherwise the optimizer's state and the memory of lanes too. Steps, counters and the loader begin anew.
    public var onlyParameters: Bool
    /// Kinds of items that need not fit: what is missing or reshaped keeps its initial values, what is unexpected is left out.
    public var allowed: Set<StateMismatch.Kind>

    /// - Parameter path: a checkpoint or a run directory.
    public init(path: String, onlyParameters: Bool = false, allowed: Set<StateMismatch.Kind> = []) {
        (self.path, self.onlyParameters, self.allowed) = (path, onlyParameters, allowed)
    }

    /// Loads the states of a run that has no checkpoint of its own. Collective.
    ///
    /// - Parameters:
    ///   - states: parameters first.
    ///   - tokenizer: the fingerprint of the run's tokenizer, where it has one.
    /// - Returns: lines for the user: where it began, and what did not fit.
    /// - Throws: on every rank the same `UserError`; (.configuration) that names what does not fit and is not allowed.
    func load(_ states: [any RunState], tokenizer: String?, _ communicator: any Communicator) throws -> [String] {
        let registry = RunStateRegistry(onlyParameters ? Array(states.prefix(1)) : states)
        let directory = try communicator.onEveryRank { try CheckpointStore.resolve(path) }
        var unfit: [StateMismatch] = []
        var lines: [String] = []
        let attributes = try registry.restore(directory, step: nil, communicator: communicator, allowing: { allowed.contains($0.kind) }) { reader in
            unfit = registry.mismatches(with: reader)
            let refused = unfit.filter { !allowed.contains($0.kind) }
            guard let first = refused.first else { return }
            let others = refused.dropFirst().prefix(7).map(\.text) + (refused.count > 8 ? ["\(refused.count - 8) more"] : [])
            let kinds = StateMismatch.Kind.allCases.filter { kind in refused.contains { $0.kind == kind } }
            throw UserError(
                .configuration, ([first.text] + others).joined(separator: "; "), at: directory,
                advice: "fit the model, or pass over them with \(kinds.map { "--allow \($0.rawValue)" }.joined(separator: " "))")
        }
        lines.append("beginning with \(onlyParameters ? "the parameters" : "parameters, optimizer state and memory") of \(directory)")
        for mismatch in unfit { lines.append("passing over: \(mismatch.text)") }
        if let tokenizer, case .string(let theirs) = attributes["tokenizer_fingerprint"], theirs != tokenizer {
            lines.append("warning: \(directory) was trained with another tokenizer: the rows of its embedding stand for other pieces")
        }
        return lines
    }
}
