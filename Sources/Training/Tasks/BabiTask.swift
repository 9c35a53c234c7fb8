// bAbI's question-answering tasks for memory networks (Weston et al. 2015, "Towards AI-complete question answering").

import Configuration
import Corpora
import Diagnostics
import Foundation
import Models

/// Which bAbI files a run reads: the keys `data`, `missingFrom` and `tasks`.
struct BabiDataSettings: Sendable {
    /// The directory of the task files, as it is written.
    var data: String
    /// Where training files are taken from that `data` does not hold, as it is written.
    var missingFrom: String?
    /// The tasks to learn, ascending; `nil` for all that have a training file.
    var tasks: [Int]?

    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ section: ConfigurationSection) throws {
        data = try section.string("data", "The directory of the task files.", onResume: .noted)
        missingFrom = try section.optionalString(
            "missingFrom", "Where training files are taken from that task.data does not hold.", onResume: .noted)
        let names = try section.strings("tasks", "The numbers of the tasks to learn, or all.", default: ["all"])
        if names != ["all"] {
            let numbers = names.compactMap { name in Int(name).flatMap { (1...babiTaskCount).contains($0) ? $0 : nil } }
            guard numbers.count == names.count, !numbers.isEmpty, Set(numbers).count == numbers.count else {
                throw section.error(
                    "tasks", "is [\(names.joined(separator: ", "))]", advice: "write all, or different numbers from 1 to \(babiTaskCount)")
            }
            tasks = numbers.sorted()
        }
    }
}

/// The sections `task` (`kind: babi`) and `model` (`kind: memory-network`).
public struct BabiTaskSettings: TaskSettings {
    var data: BabiDataSettings
    var options: StoryTaskOptions
    public var model: MemoryNetworkConfiguration

    public var modelKind: String { "memory-network" }

    /// Reads the sections but for `task.kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    public init(_ section: ConfigurationSection, model: ConfigurationSection) throws {
        data = try BabiDataSettings(section)
        options = try StoryTaskOptions(section)
        _ = try model.choice("kind", modelKindMeaning, of: [ModelKind.memoryNetwork])
        self.model = try MemoryNetworkConfiguration(model)
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        try StoryTask(configuration, options, model, BabiSource(data), savedIn: directory)
    }
}

private let babiTaskCount = BabiTask.allCases.count

extension StoryTaskOptions {
    init(_ section: ConfigurationSection) throws {
        memory = try section.int("memory", "The most sentences that are remembered, the latest ones.", default: 50, in: 1...1_000_000)
        timeNoise = try section.bool("timeNoise", "Random blank slots stand between sentences in training.", default: true)
        validation = try section.heldOutShare()
        maximumBadRecords = try section.maximumBadRecords()
    }
}

extension ConfigurationSection {
    /// The key `validation` of tasks whose training data is divided.
    func heldOutShare() throws -> Double {
        try double("validation", "The share of the training data that is held out for validation.", default: 0.1, in: 0..<1)
    }

    /// The key `maximumBadRecords`.
    func maximumBadRecords() throws -> Int {
        try int("maximumBadRecords", "The most wrong records of a split that are left out.", default: 100, in: 0..., onResume: .free)
    }
}

/// bAbI files of a directory.
final class BabiSource: StorySource {
    private let settings: BabiDataSettings
    private var opened: BabiDirectory?

    init(_ settings: BabiDataSettings) { self.settings = settings }

    let tellsAccuracy = false
    var tasks: [Int] { settings.tasks ?? BabiTask.allCases.map(\.number) }

    var title: String {
        func list(_ tasks: [Int]) -> String { tasks.map(\.description).joined(separator: ", ") }
        let isAll = tasks.count == BabiTask.allCases.count
        let names = isAll ? "tasks 1 to \(tasks.count)" : tasks.count == 1 ? "task \(tasks[0])" : "tasks \(list(tasks))"
        return "bAbI \(names)" + (substituted.isEmpty ? "" : ", training data of task \(list(substituted)) from \(settings.missingFrom ?? "")")
    }

    /// Tasks whose training file comes from elsewhere; known once the training data is read.
    private var substituted: [Int] = []

    private func directory() throws -> BabiDirectory {
        if let opened { return opened }
        let directory = try BabiDirectory(path: expandingTaskPath(settings.data, key: "data"))
        opened = directory
        return directory
    }

    func training(_ vocabulary: inout StoryVocabulary) throws -> StoryQuestions {
        let directory = try directory()
        var files: [(path: String, task: Int)] = []
        substituted = []
        for task in tasks {
            if let substitute = settings.missingFrom, directory.file(task: task, split: "train") == nil {
                files += try BabiDirectory(path: expandingTaskPath(substitute, key: "missingFrom")).files(tasks: [task], split: "train")
                substituted.append(task)
            } else {
                files += try directory.files(tasks: [task], split: "train")
            }
        }
        var questions = try StoryQuestions(babi: files, vocabulary: &vocabulary, isTraining: true)
        questions.findings.passedOver = directory.passedOver
        return questions
    }

    func test(_ vocabulary: StoryVocabulary) throws -> StoryQuestions {
        var vocabulary = vocabulary
        return try StoryQuestions(babi: directory().files(tasks: tasks, split: "test"), vocabulary: &vocabulary, isTraining: false)
    }

    func typed(_ text: String, _ vocabulary: StoryVocabulary) throws -> StoryQuestions { try StoryQuestions(typed: text, vocabulary: vocabulary) }
}

/// A path of the section `task`, its variables replaced when the data is opened: use of a finished run needs no data.
func expandingTaskPath(_ text: String, key: String) throws -> String {
    try expandingVariables(text) {
        UserError(
            .configuration, "names the environment variable \($0), which is not set", at: "task.\(key)",
            advice: "export \($0), or write the path out")
    }
}
