// The tasks that a run file's section `task` can name.

import Configuration
import Diagnostics

/// The kinds of tasks, beside language modelling on a corpus (a run file without a section `task`).
public enum TaskKind {
    /// The words that `task.kind` may be.
    public static let kinds = GeneratedTaskKind.allCases.map(\.rawValue) + ["babi", "babi-words", "dialog-babi", "knowledge"]

    /// Reads the sections `task` and `model`.
    /// - Throws: `UserError` (.configuration).
    static func settings(task: ConfigurationSection, model: ConfigurationSection) throws -> any TaskSettings {
        let kind = try task.choice("kind", of: kinds)
        if let generated = GeneratedTaskKind(rawValue: kind) { return try GeneratedTaskSettings(generated, task: task, model: model) }
        switch kind {
        case "babi": return try BabiTaskSettings(task, model: model)
        case "dialog-babi": return try DialogTaskSettings(task, model: model)
        case "babi-words": return try BabiWordsTaskSettings(task, model: model)
        case "knowledge": return try KnowledgeTaskSettings(task, model: model)
        default: preconditionFailure("no task is made for the kind \(kind)")
        }
    }
}
