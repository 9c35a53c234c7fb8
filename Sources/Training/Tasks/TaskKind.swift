// The tasks that a run file's section `task` can name.

import Configuration
import Diagnostics

/// The kinds of tasks, beside language modelling on a corpus (a run file without a section `task`).
public enum TaskKind: String, Sendable, CaseIterable {
    case copy
    case repeatCopy = "repeat-copy"
    case associativeRecall = "associative-recall"
    case delayedCopy = "delayed-copy"
    case adding
    case prioritySort = "priority-sort"
    case overwrite
    /// bAbI's question-answering tasks.
    case babi

    /// Reads the sections `task` and `model`.
    static func settings(task: ConfigurationSection, model: ConfigurationSection) throws -> any TaskSettings {
        let kind: TaskKind = try task.choice("kind")
        switch kind {
        case .copy: return try GeneratedTaskSettings(.copy, task: task, model: model)
        case .repeatCopy: return try GeneratedTaskSettings(.repeatCopy, task: task, model: model)
        case .associativeRecall: return try GeneratedTaskSettings(.associativeRecall, task: task, model: model)
        case .delayedCopy: return try GeneratedTaskSettings(.delayedCopy, task: task, model: model)
        case .adding: return try GeneratedTaskSettings(.adding, task: task, model: model)
        case .prioritySort: return try GeneratedTaskSettings(.prioritySort, task: task, model: model)
        case .overwrite: return try GeneratedTaskSettings(.overwrite, task: task, model: model)
        case .babi: return try BabiTaskSettings(task, model: model)
        }
    }
}
