// What the tasks over bAbI files have in common: which training examples are held out, and errors task by task.

import Corpora
import Diagnostics
import Evaluation

/// The training examples by what they are used for, in ascending order of their numbers.
struct BabiSplit {
    /// Those that are trained on.
    let training: [Int]
    /// Those that are held out: of a single task the last ones, of several tasks a random choice by the seed.
    let heldOut: [Int]

    /// - Parameters:
    ///   - part: of the examples that is held out.
    ///   - isJoint: whether they are of several tasks.
    ///   - seed: of the run.
    init(_ count: Int, part: Double, isJoint: Bool, seed: UInt64) {
        let wanted = min(count, Int((Double(count) * part).rounded()))
        if wanted == 0 {
            heldOut = []
        } else if !isJoint {
            heldOut = Array(count - wanted..<count)
        } else {
            // A stream of its own: epochs have those with 00 in the last two bits.
            let order = Permutation(count: count, seed: seed, stream: 3)
            heldOut = (0..<wanted).map { order[$0] }.sorted()
        }
        let isHeldOut = Set(heldOut)
        training = (0..<count).filter { !isHeldOut.contains($0) }
    }
}

extension StorySource {
    /// The training data of a saved run, which must give the same vocabulary.
    /// - Throws: `UserError` (.configuration) where it gives another.
    func savedTraining(_ vocabulary: StoryVocabulary) throws -> StoryQuestions {
        var read = StoryVocabulary()
        let all = try training(&read)
        guard read == vocabulary else {
            throw UserError(
                .configuration, "its words are not those of the run's vocabulary", at: title, advice: "name the data that the run was trained on")
        }
        return all
    }
}

extension TaskScores {
    /// The mean error and the number of failed tasks; the errors task by task as details.
    init(errors accuracy: BABIAccuracy, loss: Double?) {
        let asked = accuracy.tasksAsked
        self.init(
            examples: asked.reduce(0) { $0 + accuracy[$1].questions }, loss: loss,
            scores: [Score("error", accuracy.meanError ?? .nan), Score("failed_tasks", Double(accuracy.failedTasks.count))],
            details: asked.map { Score("error_task_\($0)", accuracy[$0].error ?? .nan) })
    }
}
