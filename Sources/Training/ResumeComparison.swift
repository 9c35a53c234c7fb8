// How the configuration of a session that resumes differs from the one that its checkpoint holds.

import Checkpoints
import Configuration
import Diagnostics

/// What a session that resumes says about its configuration: each key that differs, in one line, as the key's `ResumeRule` asks for it.
///
/// Both configurations are complete. A key that the checkpoint's lacks, because it was written before there was such a key, has its default
/// there. Keys that exist on one side alone follow from a choice, which differs itself.
public struct ResumeComparison {
    /// Lines for the user; none where nothing differs.
    public let lines: [String]

    /// Compares with the configuration that a checkpoint holds.
    /// - Throws: `UserError`: .configuration where a key differs that makes another run of it, .badData where the checkpoint holds no
    ///   configuration.
    public init(_ reader: CheckpointReader, _ present: RunConfiguration) throws {
        guard case .string(let saved) = reader.attributes["configuration"] else {
            throw UserError(.badData, "it has no attribute 'configuration'", at: reader.directory)
        }
        try self.init(saved: saved, present: present, checkpoint: reader.directory, step: reader.step)
    }

    /// - Parameters:
    ///   - saved: the resolved configuration that the checkpoint holds, as YAML.
    ///   - present: the session's; what it accepts is let pass.
    ///   - checkpoint: the checkpoint, as errors name it.
    ///   - step: its step.
    /// - Throws: `UserError` (.configuration) where a key differs that makes another run of it.
    public init(saved: String, present: RunConfiguration, checkpoint: String, step: Int) throws {
        let earlier = Dictionary(
            uniqueKeysWithValues: try RunConfiguration(yaml: saved, file: "\(checkpoint)/checkpoint.h5").values.map { ($0.name, $0.value) })
        let changes = present.values.compactMap { now in
            earlier[now.name].flatMap { $0 == now.value ? nil : (key: now.key, now: now.value, before: $0) }
        }
        let refused = changes.filter { $0.key.onResume == .refused && !present.acceptedChanges.contains($0.key.name) }
        guard refused.isEmpty else {
            throw UserError(
                .configuration,
                "the run was trained with " + refused.map { "\($0.key.name) \($0.before), not \($0.now)" }.joined(separator: ", "),
                at: checkpoint,
                advice: "set \(refused.count == 1 ? "it" : "them") back, accept the change with "
                    + refused.map { "--accept \($0.key.name)" }.joined(separator: " ") + ", or start again with --fresh")
        }
        var lines = changes.filter { $0.key.onResume != .free }.map { change in
            "\(change.key.name) is \(change.now) from here on; up to step \(step) it was \(change.before)"
        }
        let free = changes.filter { $0.key.onResume == .free }.map { "\($0.key.name) (\($0.now), was \($0.before))" }
        if !free.isEmpty { lines.append("changed without effect on what is learned: " + free.joined(separator: ", ")) }
        if present.steps < step {
            lines.append("steps is \(present.steps), and the checkpoint is of step \(step): nothing is left to train")
        }
        self.lines = lines
    }
}

extension RunConfiguration {
    /// Whether an item of a checkpoint need not fit: the state of an update rule begins anew where the session accepts another one.
    func accepts(_ mismatch: StateMismatch) -> Bool {
        mismatch.name.hasPrefix("optimizer/") && acceptedChanges.contains("optimizer.kind")
    }
}
