import Foundation
import TestSupport
import Testing
import Training

/// `mneme bench search`, run as a program.
@Suite struct SearchBenchmarkTests {
    private let small = ["search", "--json", "--rows", "3000", "--seconds", "0", "--steps", "1", "--warm-up", "0"]

    private func check(_ figures: SearchFigures, ranks: Int) {
        #expect(figures.workload == "search" && figures.ranks == ranks && figures.rows == 3000 && figures.lists == 64 && figures.rounds == 1)
        #expect(figures.exactQueriesPerSecond > 0 && figures.percentOfPeak > 0 && figures.scoredRowsPerQuery >= 10)
        #expect(abs(figures.exactGflopsPerSecond * 1e9 / figures.exactQueriesPerSecond - 2 * 3000 * 128) < 1)
        #expect(figures.inverted.map(\.probes) == [1, 2, 4, 8, 16, 32])
        // More lists find more, and half of them nearly all.
        #expect(figures.inverted.map(\.recall) == figures.inverted.map(\.recall).sorted() && figures.inverted[5].recall > 0.95)
        #expect(figures.inverted.allSatisfy { $0.queriesPerSecond > 0 && $0.timesExact > 0 && $0.recall <= 1 })
        #expect(figures.appendsPerSecond > 0 && figures.removalsPerSecond > 0 && figures.updatesPerSecond > 0)
        #expect(figures.lowestRecallDuringChurn > 0 && figures.lowestRecallDuringChurn <= figures.recallBeforeChurn)
    }

    @Test func figures() throws {
        let figures: [SearchFigures] = try BenchRun.results(small)
        check(try #require(figures.first), ranks: 1)
        let rounded: [SearchFigures] = try BenchRun.results(small + ["--precision", "bfloat16", "--threads", "2"])
        // What is found does not depend on what products read.
        #expect(rounded.first?.inverted.map(\.recall) == figures.first?.inverted.map(\.recall))
        let text = try MPIRun.runAlone(
            executable: "mneme", arguments: ["bench", "search", "--rows", "500", "--seconds", "0", "--steps", "1", "--warm-up", "0"])
        for part in ["500 rows of 128 numbers", "% of the matrix products'", "lists visited", "times exact's, recall", "rows a second"] {
            #expect(text.standardOutput.contains(part), "\(text.standardError)")
        }
        #expect(try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "search", "--rows", "0"]).status == 64)
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun")) func severalRanks() throws {
        let alone: [SearchFigures] = try BenchRun.results(small)
        let run = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["bench"] + small)
        #expect(run.status == 0, "\(run.standardError)")
        let printed: [SearchFigures] = try BenchRun.decode(run.standardOutput)
        let together = try #require(printed.first)
        check(together, ranks: 2)
        // Two ranks find what one does.
        for (mine, one) in zip(together.inverted, alone.first?.inverted ?? []) { #expect(abs(mine.recall - one.recall) < 1e-12) }
    }
}
