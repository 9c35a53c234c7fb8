// Dialog bAbI for memory networks: replies chosen from a list (Bordes, Boureau and Weston 2017, "Learning end-to-end goal-oriented dialog").

import Configuration
import Corpora
import Diagnostics
import Foundation
import Models

/// The sections `task` (`kind: dialog-babi`) and `model` (`kind: memory-network`).
public struct DialogTaskSettings: TaskSettings {
    /// The directory of the dialogs and candidates, as it is written.
    public var data: String
    /// The tasks to learn, ascending.
    public var tasks: [Int]
    /// The split that `test` stands for: tst, or dev where no other is there.
    public var testSplit: String
    var options: StoryTaskOptions
    public var model: MemoryNetworkConfiguration

    public var modelKind: String { "memory-network" }

    /// Reads the sections but for `task.kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    public init(_ section: ConfigurationSection, model: ConfigurationSection) throws {
        data = try section.string("data", "The directory of the task files.", onResume: .noted)
        tasks = try section.ints(
            "tasks", "The numbers of the tasks to learn.", default: [1, 2, 3, 4, 5], in: 1...DialogDirectory.taskCount
        ).sorted()
        guard !tasks.isEmpty, Set(tasks).count == tasks.count else { throw section.error("tasks", "names no task, or one twice") }
        testSplit = try section.choice(
            "testSplit", "The files that the test measures.", default: "dev", of: ["dev", "tst"], onResume: .free)
        options = try StoryTaskOptions(section)
        _ = try model.choice("kind", modelKindMeaning, of: [ModelKind.memoryNetwork])
        self.model = try MemoryNetworkConfiguration(model)
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        try StoryTask(configuration, options, model, DialogSource(settings: self), savedIn: directory)
    }
}

/// Dialog files of a directory.
private struct DialogSource: StorySource {
    let settings: DialogTaskSettings
    let tellsAccuracy = true

    var tasks: [Int] { settings.tasks }
    var title: String { "dialog bAbI \(tasks.count == 1 ? "task" : "tasks") \(tasks.map(\.description).joined(separator: ", "))" }

    private func directory() throws -> DialogDirectory { try DialogDirectory(path: expandingTaskPath(settings.data, key: "data")) }

    func training(_ vocabulary: inout StoryVocabulary) throws -> StoryQuestions {
        let directory = try directory()
        vocabulary.setAnswers(try directory.candidates(tasks: tasks))
        var questions = try StoryQuestions(dialogs: directory.files(tasks: tasks, split: "trn"), vocabulary: &vocabulary, isTraining: true)
        questions.findings.passedOver = directory.passedOver
        return questions
    }

    func test(_ vocabulary: StoryVocabulary) throws -> StoryQuestions {
        var vocabulary = vocabulary
        return try StoryQuestions(dialogs: directory().files(tasks: tasks, split: settings.testSplit), vocabulary: &vocabulary, isTraining: false)
    }

    func typed(_ text: String, _ vocabulary: StoryVocabulary) throws -> StoryQuestions {
        try StoryQuestions(typedDialog: text, vocabulary: vocabulary)
    }
}
