import Testing
import Training

/// `mneme bench memorizing`, run as a program.
@Suite struct MemorizingBenchmarkTests {
    @Test func figures() throws {
        let all: [MemorizingFigures] = try BenchRun.results(
            ["memorizing", "--json", "--rows", "5000", "--seconds", "0", "--steps", "1", "--warm-up", "0"])
        let figures = try #require(all.first)
        #expect(figures.workload == "memorizing" && figures.pairs == 5000 && figures.width == 256 && figures.positions == 4096)
        #expect(figures.secondsWithout > 0 && figures.secondsWith > figures.secondsOfStoring && figures.secondsOfStoring > 0 && figures.ratio > 0)
        #expect(figures.lists == 64 && figures.probes == 8 && figures.recall > 0.2 && figures.recall <= 1)
    }
}
