// The tasks that a run file can name, and what reads the sections of each.

import Configuration
import Corpora
import Models

/// The words that `task.kind` may be. A new task has its case here, and its line in `settings`.
public enum TaskKind: String, Sendable, CaseIterable {
    /// Language modelling, or sequence pairs, over a sharded corpus: what a run file without a section `task` asks for.
    case language
    case copy
    case repeatCopy = "repeat-copy"
    case associativeRecall = "associative-recall"
    case delayedCopy = "delayed-copy"
    case adding
    case prioritySort = "priority-sort"
    case overwrite
    case memoryReuse = "memory-reuse"
    case segmentRecall = "segment-recall"
    case keyValueRecall = "mqar"
    case babi
    case babiWords = "babi-words"
    case dialogBabi = "dialog-babi"
    case knowledge
    case biographies

    /// Reads the sections that say what is learned and by which model.
    /// - Throws: `UserError` (.configuration) that names the key.
    static func settings(_ root: ConfigurationSection) throws -> any TaskSettings {
        let task = try root.section("task")
        let kind = try task.choice("kind", "What is learned; a section task must say it.", default: TaskKind.language)
        guard !task.isPresent || task.keys.contains("kind") else {
            throw task.error("kind", "is missing", advice: "name the task: \(allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return try kind.settings(root, task, model: root.section("model"))
    }

    private func settings(
        _ root: ConfigurationSection, _ task: ConfigurationSection, model: ConfigurationSection
    ) throws -> any TaskSettings {
        switch self {
        case .language: try LanguageTaskSettings(corpus: root.section("corpus"), model: model)
        case .copy: try GeneratedTaskSettings(CopyGenerator(task), task, model: model)
        case .repeatCopy: try GeneratedTaskSettings(RepeatCopyGenerator(task), task, model: model)
        case .associativeRecall: try GeneratedTaskSettings(AssociativeRecallGenerator(task), task, minimumLength: 2, model: model)
        case .delayedCopy: try GeneratedTaskSettings(DelayedCopyGenerator(task), task, model: model)
        case .adding: try GeneratedTaskSettings(AddingGenerator(task), task, minimumLength: 2, model: model)
        case .prioritySort: try GeneratedTaskSettings(PrioritySortGenerator(task), task, model: model)
        case .overwrite: try GeneratedTaskSettings(OverwriteGenerator(task), task, minimumLength: 2, model: model)
        case .memoryReuse: try GeneratedTaskSettings(ReuseGenerator(task), task, model: model)
        case .segmentRecall: try SegmentRecallTaskSettings(task, model: model)
        case .keyValueRecall: try GeneratedTaskSettings(recall: KeyValueRecallGenerator(task), task, model: model)
        case .babi: try BabiTaskSettings(task, model: model)
        case .babiWords: try BabiWordsTaskSettings(task, model: model)
        case .dialogBabi: try DialogTaskSettings(task, model: model)
        case .knowledge: try KnowledgeTaskSettings(task, model: model)
        case .biographies: try BiographyTaskSettings(task, model: model)
        }
    }
}
