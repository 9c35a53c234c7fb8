import Foundation
import Models
import TestSupport
import Testing
import Training

/// `mneme bench`, run as a program, and the workloads behind it.
@Suite struct BenchCommandTests {
    @Test func everyFlag() throws {
        let both: [TrainingBenchmarkResult] = try BenchRun.results([
            "story-pairs", "story-pairs", "--json", "--threads", "2", "--precision", "float32", "--seconds", "0", "--steps", "4", "--warm-up", "1",
            "--dropout", "0", "--longest", "64",
        ])
        #expect(both.count == 2)
        let result = try #require(both.first)
        #expect(result.workload == "story-pairs" && result.ranks == 1 && result.threads == 2 && result.precision == "float32")
        #expect(result.steps == 4 && result.losses.count == 5 && result.parameters == 262_400)
        #expect(result.secondsMinimum > 0 && result.secondsMinimum <= result.secondsMedian && result.secondsMedian <= result.secondsMaximum)
        #expect(result.spread >= 0 && result.spread <= (result.secondsMaximum - result.secondsMinimum) / result.secondsMedian)
        #expect(abs(result.tokensPerSecond * result.secondsMedian - 64 * 60) < 1e-3)
        #expect(abs(result.gflopsPerSecond * result.secondsMedian - result.gflopPerStep) < 1e-6)
        #expect(result.percentOfPeak > 0 && result.peakGflopsPerSecond > 0 && result.peakResidentBytes > 10_000_000)
        #expect(result.poolPeakUsedBytes > 0 && result.poolReservedBytes > 0 && result.loadAverage >= 0 && !result.instructionSet.isEmpty)
        #expect(both[1].losses == result.losses)
    }

    @Test func seconds() throws {
        let result: [TrainingBenchmarkResult] = try BenchRun.results(["story-pairs", "--json", "--seconds", "1", "--steps", "1", "--warm-up", "0"])
        let first = try #require(result.first)
        #expect(first.secondsMaximum * Double(first.steps) >= 1)
    }

    @Test func bfloat16() throws {
        func loss(_ precision: String) throws -> [Double] {
            let result: [TrainingBenchmarkResult] = try BenchRun.results(
                ["story-pairs", "--json", "--seconds", "0", "--dropout", "0", "--precision", precision])
            let first = try #require(result.first)
            #expect(first.precision == precision && first.peakGflopsPerSecond > 0)
            return first.losses
        }
        let (coarse, exact) = (try loss("bfloat16"), try loss("float32"))
        #expect(coarse != exact && coarse.count == exact.count)
        for (mine, reference) in zip(coarse, exact) { #expect(abs(mine / reference - 1) < 0.01) }
    }

    /// What Benchmarks/pytorch/run.py, a PyTorch program that shares no code with Mneme, computes from the same parameters and tokens.
    @Test func lossesEqualPyTorchs() throws {
        let expected = [6.825905, 6.617369, 6.506668, 6.430818, 6.373038, 6.327195, 6.289680]
        let result: [TrainingBenchmarkResult] = try BenchRun.results(["story-pairs", "--json", "--seconds", "0", "--dropout", "0"])
        let losses = try #require(result.first).losses
        #expect(losses.count == expected.count)
        for (mine, theirs) in zip(losses, expected) { #expect(abs(mine - theirs) < 1e-4) }
    }

    @Test func stepsAskTheSystemForNoMemory() throws {
        let result: [TrainingBenchmarkResult] = try BenchRun.results(["story-pairs", "--json", "--seconds", "0"])
        #expect(try #require(result.first).poolSystemAllocationsPerStep == 0)
    }

    @Test(.enabled(if: MPIRun.launcher != nil, "there is no mpirun")) func severalRanks() throws {
        let run = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["bench", "story-pairs", "--json", "--seconds", "0"])
        #expect(run.status == 0, "\(run.standardError)")
        let printed: [TrainingBenchmarkResult] = try BenchRun.decode(run.standardOutput)
        #expect(printed.count == 1)
        let result = try #require(printed.first)
        #expect(result.ranks == 2 && abs(result.tokensPerSecond * result.secondsMedian - 2 * 64 * 60) < 1e-3)
    }

    @Test func kernels() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "kernels", "--json", "--seconds", "0"])
        #expect(run.status == 0, "\(run.standardError)")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let result = try decoder.decode(KernelBenchmarkResult.self, from: Data(run.standardOutput.utf8))
        #expect(result.bandwidthGigabytesPerSecond > 0 && result.peakGflopsPerSecond > 0)
        for name in ["softmax", "crossEntropy", "layerNorm", "layerNormGradient", "addRowGELU", "dropout", "adamW", "convert"] {
            #expect(Set(result.kernels.filter { $0.kernel == name }.map(\.residence)) == ["cache", "memory"], "\(name)")
        }
        #expect(result.kernels.allSatisfy { $0.ratio > 0 && $0.seconds > 0 && $0.seconds <= $0.secondsMedian })
    }

    @Test func textForPeople() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "story-pairs", "--seconds", "0"])
        for part in [
            "story-pairs: ", "1 rank x 1 thread, float32", "tokens/s", "% of the matrix products'", "MB resident", "pages of the system", "at step 7",
        ] { #expect(run.standardOutput.contains(part)) }
    }

    @Test(arguments: [
        [], ["no-such-workload"], ["story-pairs", "--threads", "0"], ["story-pairs", "--seconds=-1"], ["story-pairs", "--dropout", "1"],
        ["story-pairs", "--dropout", "nan"], ["story-pairs", "--precision", "float16"], ["story-pairs", "--steps", "0"],
        ["story-pairs", "--warm-up=-1"], ["attention", "--longest", "0"],
    ])
    func wrongUse(_ arguments: [String]) throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench"] + arguments)
        #expect(run.status == 64 && run.standardOutput.isEmpty)
    }

    @Test func helpHasExamplesAndNamesEveryWorkload() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "--help"])
        #expect(run.status == 0 && run.standardOutput.contains("mneme bench gpt-small"))
        for benchmark in Benchmark.all { #expect(run.standardOutput.contains("  \(benchmark.name) ")) }
        for name in ["gpt2-124m", "greedy", "beam", "attention"] { #expect(Benchmark.named(name) != nil) }
        #expect(Set(Benchmark.all.map(\.name)).count == Benchmark.all.count)
    }

    /// 6 operations a weight and position, and causal attention counted once, as is usual for GPT-2.
    @Test func modelOperations() throws {
        let workload = try #require(TrainingWorkload.named("gpt2-124m"))
        let (positions, width, layers) = (512.0, 768.0, 12.0)
        let weights = 124_046_592 - positions * width
        let usual = 6 * weights * positions + 6 * layers * positions * positions * width
        #expect(abs(workload.modelFlopsPerLane / usual - 1) < 0.002)
    }

    @Test func aLanesTokensDependOnTheLaneAlone() throws {
        for workload in TrainingWorkload.all {
            if workload.sourceLength == 0 {
                let (some, one) = (workload.tokenBatch(lanes: [3, 7]), workload.tokenBatch(lanes: [7]))
                #expect(Array(some.inputs.integerArray.suffix(workload.targetLength)) == one.inputs.integerArray)
                #expect(one.inputs.integerArray.dropFirst() == one.targets.integerArray.dropLast())
            } else {
                let (some, one) = (workload.pairBatch(lanes: [3, 7]), workload.pairBatch(lanes: [7]))
                #expect(Array(some.sources.integerArray.suffix(workload.sourceLength)) == one.sources.integerArray)
                #expect(Array(some.targetOutputs.integerArray.suffix(workload.targetLength)) == one.targetOutputs.integerArray)
            }
        }
    }
}
