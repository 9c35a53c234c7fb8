// Learning-rate schedules against values worked out by hand.

import Diagnostics
import Optimizers
import Testing

@Suite("Schedules")
struct ScheduleTests {
    /// Compares with expected (step, rate) pairs.
    private func expect(
        _ schedule: ScheduleConfiguration, base: Double, _ expected: [(Int, Double)], sourceLocation: SourceLocation = #_sourceLocation
    ) {
        for (step, rate) in expected {
            let actual = schedule.learningRate(base: base, step: step)
            #expect(abs(actual - rate) <= 1e-12 * max(abs(rate), 1e-6), "step \(step): \(actual), expected \(rate)", sourceLocation: sourceLocation)
        }
    }

    @Test("warm-up is linear from the first step and peaks at its end", arguments: ScheduleKind.allCases)
    func warmup(kind: ScheduleKind) {
        expect(ScheduleConfiguration(kind: kind, warmup: 4, steps: 10, every: 5), base: 2, [(1, 0.5), (2, 1), (3, 1.5), (4, 2)])
    }

    @Test("constant")
    func constant() {
        expect(ScheduleConfiguration(), base: 0.3, [(1, 0.3), (1_000_000, 0.3)])
        expect(ScheduleConfiguration(warmup: 2), base: 0.3, [(1, 0.15), (3, 0.3)])
    }

    @Test("cosine")
    func cosine() {
        // One half of the way: the mean of base and floor; one third: cos(60 degrees) = 1/2.
        let schedule = ScheduleConfiguration(kind: .cosine, warmup: 10, steps: 40, floor: 0.2)
        expect(schedule, base: 1, [(10, 1), (20, 0.8), (25, 0.6), (30, 0.4), (40, 0.2), (41, 0.2), (1000, 0.2)])
    }

    @Test("linear")
    func linear() {
        let schedule = ScheduleConfiguration(kind: .linear, warmup: 10, steps: 30, floor: 0.1)
        expect(schedule, base: 1.1, [(10, 1.1), (15, 0.85), (20, 0.6), (30, 0.1), (50, 0.1)])
    }

    @Test("inverse square root peaks at base")
    func inverseSquareRoot() {
        let schedule = ScheduleConfiguration(kind: .inverseSquareRoot, warmup: 4000)
        expect(schedule, base: 7e-4, [(1, 7e-4 / 4000), (2000, 3.5e-4), (4000, 7e-4), (16_000, 3.5e-4), (36_000, 7e-4 / 3)])
        expect(ScheduleConfiguration(kind: .inverseSquareRoot), base: 1, [(1, 1), (4, 0.5), (100, 0.1)])
        expect(ScheduleConfiguration(kind: .inverseSquareRoot, floor: 0.2), base: 1, [(4, 0.5), (100, 0.2)])
    }

    @Test("step decay")
    func stepDecay() {
        let schedule = ScheduleConfiguration(kind: .step, warmup: 2, floor: 0.2, factor: 0.5, every: 3)
        expect(schedule, base: 1, [(2, 1), (3, 1), (5, 1), (6, 0.5), (8, 0.5), (9, 0.25), (12, 0.2), (100, 0.2)])
    }

    @Test("steps that are held have the base rate, and the schedule begins after them")
    func hold() {
        var schedule = ScheduleConfiguration(kind: .step, factor: 0.5, every: 3)
        schedule.hold = 4
        expect(schedule, base: 1, [(1, 1), (4, 1), (7, 1), (8, 0.5), (11, 0.25)])
        schedule = ScheduleConfiguration(kind: .linear, warmup: 2, steps: 14)
        schedule.hold = 2
        expect(schedule, base: 1, [(2, 1), (3, 0.5), (4, 1), (9, 0.5), (14, 0)])
    }

    @Test("a value out of range is named")
    func validation() throws {
        var held = ScheduleConfiguration()
        held.hold = -1
        let wrong: [(String, ScheduleConfiguration)] = [
            ("warmup", ScheduleConfiguration(warmup: -1)), ("hold", held), ("floor", ScheduleConfiguration(floor: -1)),
            ("steps", ScheduleConfiguration(kind: .cosine, warmup: 5, steps: 5)), ("steps", ScheduleConfiguration(kind: .linear)),
            ("factor", ScheduleConfiguration(kind: .step, factor: 0, every: 1)), ("every", ScheduleConfiguration(kind: .step)),
        ]
        for (key, schedule) in wrong {
            let error = #expect(throws: UserError.self) { try schedule.validate() }
            #expect(error?.exitCode == .configuration)
            #expect(error?.place == "schedule.\(key)")
        }
        try ScheduleConfiguration(kind: .step, every: 10).validate()
        try ScheduleConfiguration(kind: .cosine, warmup: 5, steps: 10).validate()
        try ScheduleConfiguration(kind: .inverseSquareRoot, warmup: 4000).validate()
    }
}
