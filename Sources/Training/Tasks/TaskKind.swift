// The tasks that a run file's section `task` can name.

import Configuration
import Diagnostics

/// The kinds of tasks, beside language modelling on a corpus (a run file without a section `task`).
public enum TaskKind {
    /// Reads one kind's keys of the sections `task` and `model`.
    typealias Reader = @Sendable (_ task: ConfigurationSection, _ model: ConfigurationSection) throws -> any TaskSettings

    /// Every kind by its word in `task.kind`.
    private static let readers: [(kind: String, read: Reader)] =
        GeneratedTaskKind.allCases.map { kind in (kind.rawValue, { try GeneratedTaskSettings(kind, task: $0, model: $1) }) } + [
            ("babi", { try BabiTaskSettings($0, model: $1) }), ("babi-words", { try BabiWordsTaskSettings($0, model: $1) }),
            ("knowledge", { try KnowledgeTaskSettings($0, model: $1) }),
        ]

    /// The words that `task.kind` may be.
    public static let kinds = readers.map(\.kind)

    /// Reads the sections `task` and `model`.
    /// - Throws: `UserError` (.configuration).
    static func settings(task: ConfigurationSection, model: ConfigurationSection) throws -> any TaskSettings {
        let kind = try task.choice("kind", of: kinds)
        guard let reader = readers.first(where: { $0.kind == kind }) else { preconditionFailure("no reader for the kind \(kind)") }
        return try reader.read(task, model)
    }
}
