// What a schedule of kind plateau knows of the validation losses so far.

/// How often the validation loss has stalled: the rule of PyTorch's ReduceLROnPlateau with mode "min", a relative threshold and no cooldown.
///
/// A loss is better when it is below best (1 - threshold); one that is not a number never is. After more than `patience` evaluations in a row
/// that were not better the learning rate is reduced, and the count begins anew. Evaluations up to the end of the steps that are held and of the
/// warm-up can be the best, but do not count as stalled.
public struct PlateauState: Sendable, Equatable {
    /// The best loss so far; infinity before the first evaluation.
    public private(set) var best = Double.infinity
    /// Evaluations in a row that were not better.
    public private(set) var stalled = 0
    /// How often the learning rate has been reduced.
    public private(set) var reductions = 0
    /// The step of the last evaluation; 0 before the first.
    public private(set) var step = 0

    /// Before the first evaluation.
    public init() {}

    /// Takes the loss of an evaluation.
    /// - Parameters:
    ///   - loss: on the validation part, nats.
    ///   - step: that was evaluated, later than the last.
    public mutating func observe(_ loss: Double, step: Int, _ schedule: ScheduleConfiguration) {
        precondition(step > self.step, "an evaluation of step \(step) after that of step \(self.step)")
        self.step = step
        if loss < best * (1 - schedule.threshold) {
            (best, stalled) = (loss, 0)
        } else if step > schedule.hold + schedule.warmup {
            stalled += 1
        }
        if stalled > schedule.patience {
            reductions += 1
            stalled = 0
        }
    }

    /// The state as numbers for a checkpoint: best loss, stalled evaluations, reductions, step.
    public var encoded: [Double] { [best, Double(stalled), Double(reductions), Double(step)] }

    /// From numbers that `encoded` gave; `nil` for others.
    public init?(encoded: [Double]) {
        guard encoded.count == 4, encoded[1...].allSatisfy({ $0 >= 0 && $0 < 1e15 && $0 == $0.rounded() }) else { return nil }
        best = encoded[0]
        (stalled, reductions, step) = (Int(encoded[1]), Int(encoded[2]), Int(encoded[3]))
    }
}
