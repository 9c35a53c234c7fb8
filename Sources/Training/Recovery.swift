// What becomes of a step that went wrong: its gradient is not finite, or far larger than those before it.

import Checkpoints
import Configuration
import Diagnostics
import Foundation

/// What is done about a step that went wrong.
public enum RecoveryAction: String, CaseIterable, Sendable {
    /// The session ends with an error.
    case stop
    /// Parameters, optimizer and lanes stay as they were before the step, and the next batch comes.
    case skip
    /// The step is computed again: a fault of the machine does not come back. One that does ends the session.
    case again = "repeat"
    /// The run goes back to its newest checkpoint, and on from there without the batches that came since.
    case back
}

/// The section `recovery`: what is done about steps that go wrong.
public struct RecoverySettings: Sendable, Equatable {
    /// For a loss or a gradient that is not finite.
    public var notFinite = RecoveryAction.stop
    /// For a gradient beyond `spikeFactor`.
    public var spike = RecoveryAction.skip
    /// How many times as large as the gradients before it one may be; 0 for any.
    public var spikeFactor = 0.0
    /// Steps before which no gradient is called too large.
    public var spikeAfter = 100
    /// Steps that may go wrong among the last 100, and times that a session may go back.
    public var limit = 10
    /// Sessions in a row that may end with an error, or without a word, before they publish a checkpoint.
    public var starts = 3

    /// The settings of a run file that says nothing of it: such a step ends the session.
    public init() {}

    /// Reads the section.
    /// - Throws: `UserError` (.configuration).
    init(_ section: ConfigurationSection) throws {
        notFinite = try section.choice(
            "notFinite",
            "What is done about a step whose gradient is not finite: stop; skip it; repeat it once; or go back to the newest checkpoint and on without the batches since.",
            default: notFinite)
        spike = try section.choice("spike", "What is done about a step whose gradient is beyond spikeFactor.", default: spike)
        spikeFactor = try section.double(
            "spikeFactor", "How many times the usual norm a gradient may have; the usual is the geometric mean of about 50 steps. 0 for any.",
            default: spikeFactor, in: 0...)
        guard spikeFactor == 0 || spikeFactor > 1 else {
            throw section.error("spikeFactor", "is \(spikeFactor), which every other gradient is beyond", advice: "choose a number such as 10, or 0 for none")
        }
        spikeAfter = try section.int("spikeAfter", "Steps of the run before which no gradient is called too large.", default: spikeAfter, in: 1...)
        limit = try section.int(
            "limit", "Steps that may be skipped among the last 100, and times that a session may go back, before it stops.", default: limit, in: 1...)
        starts = try section.int(
            "starts", "Starts in a row that come to no new checkpoint, after which the code is 73 and nobody starts the run again.", default: starts,
            in: 1..., onResume: .free)
    }
}

/// A step that went wrong.
struct StepProblem {
    /// What is wrong, as a sentence.
    let text: String
    let action: RecoveryAction
}

/// What one goes by when a step is judged: the usual norm of the gradient, and what was skipped. Part of the run's state.
final class StepJudge: RunState {
    let stateName = "recovery"
    let settings: RecoverySettings
    /// The mean of the norms' logarithms, which forgets: a fiftieth of each step.
    private var meanLogarithm = 0.0
    private var accepted = 0
    /// Steps that were skipped in the whole run.
    private(set) var skipped = 0
    /// Those among the last 100 steps.
    private var recent: [Int] = []

    init(_ settings: RecoverySettings) { self.settings = settings }

    /// What is wrong with a step; `nil` where nothing is. The same on every rank.
    func problem(of outcome: TrainingStep.Outcome) -> StepProblem? {
        if let problem = outcome.notFinite { return StepProblem(text: problem, action: settings.notFinite) }
        let usual = exp(meanLogarithm)
        guard settings.spikeFactor > 0, accepted >= settings.spikeAfter, outcome.gradientNorm > settings.spikeFactor * usual else { return nil }
        let text = String(format: "the gradient's norm is %.4g, %.0f times the usual %.4g", outcome.gradientNorm, outcome.gradientNorm / usual, usual)
        return StepProblem(text: text, action: settings.spike)
    }

    /// Takes a step that was applied.
    func accept(_ outcome: TrainingStep.Outcome) {
        let logarithm = log(max(outcome.gradientNorm, 1e-30))
        meanLogarithm = accepted == 0 ? logarithm : meanLogarithm + (logarithm - meanLogarithm) / 50
        accepted += 1
    }

    /// Notes that a step is skipped.
    /// - Throws: `UserError` (.badData), the same on every rank, when too many are.
    func skip(_ problem: StepProblem, step: Int) throws -> String {
        skipped += 1
        recent = recent.filter { $0 > step - 100 } + [step]
        guard recent.count <= settings.limit else {
            throw TrainingStep.Outcome.error(
                "\(problem.text); it is the \(recent.count)th step of the last 100 that went wrong, more than recovery.limit", step: step)
        }
        return "step \(step) is skipped: \(problem.text)"
    }

    var stateItems: [StateItem] {
        [
            StateItem(
                "recovery/norms", .float64, ifAbsent: {},
                save: { [self] in [meanLogarithm, Double(accepted), Double(skipped)] + recent.map(Double.init) }
            ) { [self] (numbers: [Double]) in
                guard numbers.count >= 3, numbers[0].isFinite, numbers.dropFirst().allSatisfy({ (0..<1e15).contains($0) }) else {
                    throw UserError(.badData, "'recovery/norms' cannot be read", advice: "use an earlier checkpoint")
                }
                (meanLogarithm, accepted, skipped) = (numbers[0], Int(numbers[1]), Int(numbers[2]))
                recent = numbers.dropFirst(3).map { Int($0) }
            }
        ]
    }
}

/// A session that goes back to its newest checkpoint. Every rank throws it.
struct GoesBack: Error {
    /// Why.
    let reason: String
    /// The step that went wrong.
    let step: Int
}
