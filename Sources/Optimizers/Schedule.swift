// The learning rate of each step.
//
// Legend: t the step, from 1, after the first `hold` steps, which run at the base rate; W warm-up steps; T total steps; base the configured learning
// rate. In the warm-up, t <= W, every schedule gives base * t / W, so that it reaches base at step W. Afterwards, with
// progress p = min(1, (t - W) / (T - W)):
//
//   constant              base
//   cosine                floor + (base - floor) (1 + cos(pi p)) / 2      (Loshchilov and Hutter, "SGDR", 2017, one period)
//   linear                floor + (base - floor) (1 - p)
//   inverse-square-root   max(floor, base sqrt(max(W, 1) / t))            (Vaswani et al., 2017, with base the peak)
//   step                  max(floor, base factor^k), k = (t - W - 1) div every
//   plateau               max(floor, base factor^k), k how often the validation loss has stalled (see `PlateauState`)

import Diagnostics
import Foundation

/// How the learning rate goes after the warm-up.
public enum ScheduleKind: String, Sendable, CaseIterable, Codable {
    case constant, cosine, linear, step, plateau
    case inverseSquareRoot = "inverse-square-root"
}

/// The section `schedule` of a run's configuration. Fields that a kind does not use are ignored.
public struct ScheduleConfiguration: Sendable, Equatable {
    /// The curve after the warm-up.
    public var kind: ScheduleKind
    /// W, steps of linear warm-up; 0 for none.
    public var warmup: Int
    /// Steps at the base rate before the schedule's own first step; 0 for none.
    public var hold = 0
    /// The step at which cosine and linear reach the floor, those held included: T + hold.
    public var steps: Int
    /// The smallest learning rate after the warm-up, absolute.
    public var floor: Double
    /// Kind step: what the learning rate is multiplied by every `every` steps, above 0 and at most 1. Kind plateau: what it is multiplied by when the
    /// validation loss stalls, below 1.
    public var factor: Double
    /// Kind step: steps between two reductions.
    public var every: Int
    /// Kind plateau: evaluations without improvement that are let pass; one more reduces the learning rate.
    public var patience = 10
    /// Kind plateau: the part of the best validation loss by which another must be below it to count as better, at least 0 and below 1.
    public var threshold = 1e-4

    /// A constant rate unless told otherwise. The values are checked where a run file gives them.
    public init(kind: ScheduleKind = .constant, warmup: Int = 0, steps: Int = 0, floor: Double = 0, factor: Double = 0.1, every: Int = 0) {
        self.kind = kind
        self.warmup = warmup
        self.steps = steps
        self.floor = floor
        self.factor = factor
        self.every = every
    }

    /// Checks every value that the kind uses.
    ///
    /// - Throws: `UserError` (configuration) that names the first key whose value is out of range.
    public func validate() throws {
        try require(warmup >= 0, "warmup", "\(warmup)", "at least 0")
        try require(hold >= 0, "hold", "\(hold)", "at least 0")
        try require(floor.isFinite && floor >= 0, "floor", "\(floor)", "at least 0")
        switch kind {
        case .cosine, .linear:
            try require(steps > hold + warmup, "steps", "\(steps)", "above schedule.hold and schedule.warmup (\(hold + warmup))")
        case .step:
            try require(factor > 0 && factor <= 1, "factor", "\(factor)", "above 0 and at most 1")
            try require(every >= 1, "every", "\(every)", "at least 1")
        case .plateau:
            try require(factor > 0 && factor < 1, "factor", "\(factor)", "above 0 and below 1")
            try require(patience >= 0, "patience", "\(patience)", "at least 0")
            try require(threshold >= 0 && threshold < 1, "threshold", "\(threshold)", "at least 0 and below 1")
        case .constant, .inverseSquareRoot:
            break
        }
    }

    /// The learning rate of one step.
    ///
    /// - Parameters:
    ///   - base: the configured learning rate, the peak of the curve.
    ///   - step: from 1, those held included.
    ///   - reductions: how often the validation loss has stalled; kind plateau alone uses it.
    public func learningRate(base: Double, step: Int, reductions: Int = 0) -> Double {
        precondition(step >= 1, "steps are numbered from 1")
        if step <= hold { return base }
        let step = step - hold
        if step <= warmup { return base * Double(step) / Double(warmup) }
        switch kind {
        case .constant: return base
        case .cosine: return floor + (base - floor) * (1 + cos(.pi * progress(step))) / 2
        case .linear: return floor + (base - floor) * (1 - progress(step))
        case .inverseSquareRoot: return max(floor, base * (Double(max(warmup, 1)) / Double(step)).squareRoot())
        case .step: return max(floor, base * pow(factor, Double((step - warmup - 1) / max(every, 1))))
        case .plateau: return max(floor, base * pow(factor, Double(reductions)))
        }
    }

    /// p: 0 at the end of the warm-up, 1 from T on.
    private func progress(_ step: Int) -> Double {
        min(1, Double(step - warmup) / Double(max(steps - hold - warmup, 1)))
    }

    /// Throws unless the value of a key is in range.
    private func require(_ isValid: Bool, _ key: String, _ value: String, _ range: String) throws {
        if !isValid { throw UserError(.configuration, "\(value) is out of range", at: "schedule.\(key)", advice: "give a value \(range)") }
    }
}
