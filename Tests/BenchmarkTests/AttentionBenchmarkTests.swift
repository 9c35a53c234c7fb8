import Collectives
import TestSupport
import Testing
import Training

/// `mneme bench attention`.
@Suite struct AttentionBenchmarkTests {
    @Test func command() throws {
        let printed: [AttentionBenchmarkResult] = try BenchRun.results(
            ["attention", "--json", "--longest", "1500", "--seconds", "0", "--steps", "3", "--warm-up", "1"])
        #expect(printed.map(\.positions) == [512, 1024])
        for result in printed {
            #expect(result.workload == "attention" && result.heads == 12 && result.headSize == 64 && result.steps == 3)
            #expect(result.forwardSecondsMedian > 0 && result.backwardSecondsMedian > 0)
            #expect(result.forwardSecondsMedian + result.backwardSecondsMedian <= result.secondsMaximum * 1.01)
            #expect(abs(result.positionsPerSecond * result.secondsMedian - Double(result.positions)) < 1e-6)
            // At least the packed operands, their gradient, the result and its gradient.
            #expect(result.tensorBytes >= 8 * 768 * 4 * result.positions && result.peakResidentBytes > result.tensorBytes / 2)
            #expect(result.poolSystemAllocationsPerStep == 0 && result.percentOfPeak > 0)
        }
    }

    @Test func lengths() {
        func lengths(_ longest: Int) -> [Int] {
            var settings = BenchmarkSettings()
            settings.longest = longest
            return AttentionBenchmark(communicator: SingleProcess(), settings: settings).lengths
        }
        #expect(lengths(16_384) == [512, 1024, 2048, 4096, 8192, 16_384])
        #expect(lengths(1023) == [512] && lengths(64) == [64])
    }

    /// Twice the positions take twice the memory, up to the size classes of the pool.
    @Test(arguments: Precision.allCases) func memoryIsLinear(precision: Precision) throws {
        let printed: [AttentionBenchmarkResult] = try BenchRun.results(
            ["attention", "--json", "--longest", "1024", "--precision", precision.rawValue, "--seconds", "0", "--steps", "1", "--warm-up", "1"])
        let (short, long) = (try #require(printed.first), try #require(printed.last))
        #expect(short.positions == 512 && long.positions == 1024 && long.precision == precision.rawValue)
        #expect(Double(long.tensorBytes) / Double(short.tensorBytes) < 2 * 1.25)
    }

    @Test func textForPeople() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "attention", "--longest", "64", "--seconds", "0"])
        for part in ["attention: 64 positions, 12 heads of 64", "positions/s", "bytes a position"] { #expect(run.standardOutput.contains(part)) }
    }

    /// Four operations for each score that a causal mask leaves forward, eight backward.
    @Test func operations() {
        #expect(AttentionBenchmark.flops(positions: 1000) == 12 * 768 * 1000 * 1000 / 2)
    }
}
