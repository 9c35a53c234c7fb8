// Learning-rate schedules against values worked out by hand.

import Diagnostics
import Foundation
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

    @Test("plateau: the rates of PyTorch's ReduceLROnPlateau")
    func plateau() throws {
        struct Case: Decodable {
            let base, factor, threshold, floor: Double
            let patience: Int
            let losses: [Double?]
            let rates: [Double]
        }
        let url = try #require(Bundle.module.url(forResource: "plateau", withExtension: "json", subdirectory: "Golden"))
        for test in try JSONDecoder().decode([Case].self, from: Data(contentsOf: url)) {
            var schedule = ScheduleConfiguration(kind: .plateau, floor: test.floor, factor: test.factor)
            (schedule.patience, schedule.threshold) = (test.patience, test.threshold)
            try schedule.validate()
            var state = PlateauState()
            for (index, loss) in test.losses.enumerated() {
                state.observe(loss ?? .nan, step: 10 * (index + 1), schedule)
                let rate = schedule.learningRate(base: test.base, step: 10 * index + 11, reductions: state.reductions)
                #expect(abs(rate - test.rates[index]) <= 1e-12 * test.rates[index], "evaluation \(index + 1): \(rate), not \(test.rates[index])")
                #expect(PlateauState(encoded: state.encoded) == state)
            }
            #expect(Set(test.rates).count > 2)
        }
    }

    @Test("plateau: what is held or warms up is not reduced, and does not count")
    func plateauAfterWarmup() {
        var schedule = ScheduleConfiguration(kind: .plateau, warmup: 4, factor: 0.5)
        (schedule.hold, schedule.patience) = (2, 1)
        var state = PlateauState()
        for step in [1, 3, 5, 6] { state.observe(2, step: step, schedule) }
        #expect(state.stalled == 0 && state.best == 2)
        for step in [7, 8] { state.observe(2, step: step, schedule) }
        #expect(state.reductions == 1 && state.stalled == 0)
        #expect(schedule.learningRate(base: 1, step: 9, reductions: state.reductions) == 0.5)
        #expect(schedule.learningRate(base: 1, step: 4, reductions: state.reductions) == 0.5, "the warm-up has the rates of any schedule")
        for wrong in [[], [1, 2, 3], [1, -1, 0, 4], [1, 0.5, 0, 4], [1, 0, .infinity, 4]] as [[Double]] {
            #expect(PlateauState(encoded: wrong) == nil)
        }
    }

    @Test("a value out of range is named")
    func validation() throws {
        var held = ScheduleConfiguration()
        held.hold = -1
        let wrong: [(String, ScheduleConfiguration)] = [
            ("warmup", ScheduleConfiguration(warmup: -1)), ("hold", held), ("floor", ScheduleConfiguration(floor: -1)),
            ("steps", ScheduleConfiguration(kind: .cosine, warmup: 5, steps: 5)), ("steps", ScheduleConfiguration(kind: .linear)),
            ("factor", ScheduleConfiguration(kind: .step, factor: 0, every: 1)), ("every", ScheduleConfiguration(kind: .step)),
            ("factor", ScheduleConfiguration(kind: .plateau, factor: 1)),
            ("patience", { var plateau = ScheduleConfiguration(kind: .plateau); plateau.patience = -1; return plateau }()),
            ("threshold", { var plateau = ScheduleConfiguration(kind: .plateau); plateau.threshold = 1; return plateau }()),
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
