// Stories of the twenty bAbI tasks from a small simulated world.

import Diagnostics

/// Makes stories for the tasks of bAbI (Weston et al. 2015), with the supporting facts of every answer.
///
/// Each story comes from a world whose state is tracked and told; answers and supporting facts are read off that state. The vocabulary is that of
/// the published set. A story depends on the seed, the task, the split and its index alone, so that the first stories of a longer
/// file are those of a shorter one, and no split shares a random stream with another.
public struct BabiSimulator: Sendable {
    /// A part of the data.
    public enum Split: String, Sendable, CaseIterable, Codable {
        case train
        case valid
        case test
    }

    /// The seed that all stories follow from.
    public let seed: UInt64

    /// Stories of a seed. Nothing is made before it is asked for.
    public init(seed: UInt64) {
        self.seed = seed
    }

    /// The first `count` stories of a task.
    public func stories(task: BabiTask, count: Int, split: Split = .train) -> [BabiStory] {
        (0..<count).map { story(task: task, index: $0, split: split) }
    }

    /// One story.
    public func story(task: BabiTask, index: Int, split: Split = .train) -> BabiStory {
        let splitNumber: UInt64 =
            switch split {
            case .train: 0
            case .valid: 1
            case .test: 2
            }
        return Self.generators[task.number - 1](SeededChoices(seed: seed, path: [UInt64(task.number), splitNumber, UInt64(index)]))
    }

    /// By task number, less one.
    private static let generators: [@Sendable (SeededChoices) -> BabiStory] = [
        PlaceTasks.singleSupportingFact, ThingTasks.twoSupportingFacts, ThingTasks.threeSupportingFacts, SpaceTasks.twoArgumentRelations,
        ThingTasks.threeArgumentRelations, PlaceTasks.yesNoQuestions, ThingTasks.counting, ThingTasks.listsSets, PlaceTasks.simpleNegation,
        PlaceTasks.indefiniteKnowledge, PlaceTasks.basicCoreference, PlaceTasks.conjunction, PlaceTasks.compoundCoreference, PlaceTasks.timeReasoning,
        InferenceTasks.basicDeduction, InferenceTasks.basicInduction, SpaceTasks.positionalReasoning, SpaceTasks.sizeReasoning,
        SpaceTasks.pathFinding,
        InferenceTasks.agentsMotivations,
    ]
}
