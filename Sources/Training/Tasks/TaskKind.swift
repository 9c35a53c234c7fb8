// The tasks that a run file's section `task` can name.

import Configuration
import Diagnostics

/// The kinds of tasks, beside language modelling on a corpus (a run file without a section `task`).
public enum TaskKind: String, Sendable, CaseIterable {
    case none
    case knowledge

    /// Reads the sections `task` and `model`.
    static func settings(task: ConfigurationSection, model: ConfigurationSection) throws -> any TaskSettings {
        let kind: TaskKind = try task.choice("kind")
        switch kind {
        case .none: throw task.error("kind", "is none")
        case .knowledge: return try KnowledgeTaskSettings(task, model: model)
        }
    }
}
