// The tasks that a run file's section `task` can name.

import Configuration
import Diagnostics

/// The kinds of tasks, beside language modelling on a corpus (a run file without a section `task`).
public enum TaskKind {
    /// The tasks that read data.
    private enum DataTask: String, CaseIterable {
        case babi, knowledge
        case babiWords = "babi-words"
        case dialogBabi = "dialog-babi"
    }

    /// The words that `task.kind` may be.
    public static let kinds = GeneratedTaskKind.allCases.map(\.rawValue) + DataTask.allCases.map(\.rawValue)

    /// Reads the sections `task` and `model`.
    /// - Throws: `UserError` (.configuration).
    static func settings(task: ConfigurationSection, model: ConfigurationSection) throws -> any TaskSettings {
        let kind = try task.choice("kind", of: kinds)
        if let generated = GeneratedTaskKind(rawValue: kind) { return try GeneratedTaskSettings(generated, task: task, model: model) }
        guard let data = DataTask(rawValue: kind) else { fatalError("no task is made for the kind \(kind)") }
        switch data {
        case .babi: return try BabiTaskSettings(task, model: model)
        case .dialogBabi: return try DialogTaskSettings(task, model: model)
        case .babiWords: return try BabiWordsTaskSettings(task, model: model)
        case .knowledge: return try KnowledgeTaskSettings(task, model: model)
        }
    }
}
