import Collectives
import Models
import TestSupport
import Testing
import Training

/// `mneme bench greedy` and `beam`, and the workload behind them.
@Suite struct DecodingBenchmarkTests {
    private func settings(_ precision: Precision = .float32) -> BenchmarkSettings {
        var settings = BenchmarkSettings()
        (settings.seconds, settings.minimumSteps, settings.warmUpSteps, settings.precision) = (0, 1, 1, precision)
        return settings
    }

    /// The quickstart's model, small enough for a test, normalised after each sublayer: with random parameters its translations differ more.
    private func small(beam: Int) throws -> DecodingWorkload {
        var workload = try #require(TrainingWorkload.named("story-pairs"))
        guard case .transformer(var model) = workload.model else { fatalError("story-pairs is a Transformer") }
        model.layout = .encoderDecoder(preNorm: false)
        workload.model = .transformer(model)
        return DecodingWorkload(name: "small", summary: "", workload: workload, beam: beam)
    }

    private func run(_ workload: DecodingWorkload, _ precision: Precision = .float32) throws -> DecodingBenchmarkResult {
        try DecodingBenchmark(communicator: SingleProcess(), settings: settings(precision)).run(workload)
    }

    @Test func command() throws {
        let printed: [DecodingBenchmarkResult] = try BenchRun.results(["greedy", "--json", "--seconds", "0", "--steps", "2", "--warm-up", "0"])
        let result = try #require(printed.first)
        #expect(result.workload == "greedy" && result.beam == 1 && result.sentences == 64 && result.steps == 2 && result.parameters == 60_522_496)
        #expect(abs(result.sentencesPerSecond * result.secondsMedian - 64) < 1e-6)
        #expect(result.outputs.count == 64 && result.logProbabilities.count == 64)
        #expect(result.percentOfPeak > 0 && result.gflopPerStep > 0)
    }

    @Test func theEndSymbolStopsNothing() throws {
        for beam in [1, 4] {
            let result = try run(try small(beam: beam))
            #expect(result.outputs.allSatisfy { $0.count == 60 } && result.targetLength == 60)
            #expect(result.text.contains("sentences/s") && result.text.contains("log probability"))
        }
    }

    @Test func aBeamFindsNothingWorseHere() throws {
        let (greedy, beam) = (try run(try small(beam: 1)), try run(try small(beam: 4)))
        let gain = zip(greedy.logProbabilities, beam.logProbabilities).map { $1 - $0 }
        #expect(gain.reduce(0, +) > 0)
    }

    struct Expected {
        let beam: Int
        /// Of all log probabilities.
        let sum: Double
        /// The first output: each token with the number of times that it is repeated.
        let runs: KeyValuePairs<Int32, Int>
    }

    /// What Benchmarks/pytorch/run.py, a PyTorch program that shares no code with Mneme, finds from the same parameters and sources.
    @Test(arguments: [Expected(beam: 1, sum: -9945.046875, runs: [1: 60]), Expected(beam: 4, sum: -6181.689453, runs: [205: 6, 286: 54])])
    func translationsEqualPyTorchs(expected: Expected) throws {
        let result = try run(try small(beam: expected.beam))
        #expect(abs(result.logProbabilities.reduce(0, +) / expected.sum - 1) < 1e-4)
        #expect(result.outputs[0] == expected.runs.flatMap { [Int32](repeating: $0.key, count: $0.value) })
    }

    @Test func bfloat16() throws {
        let (coarse, exact) = (try run(try small(beam: 4), .bfloat16), try run(try small(beam: 4)))
        #expect(coarse.precision == "bfloat16")
        let (sum, reference) = (coarse.logProbabilities.reduce(0, +), exact.logProbabilities.reduce(0, +))
        #expect(abs(sum / reference - 1) < 0.02)
    }

    /// 2 operations a weight and position for each part, counted one by one.
    @Test func operations() throws {
        let workload = try small(beam: 4)
        let (d, f, v, s, t) = (64.0, 256.0, 448.0, 60.0, 60.0)
        var flops = 0.0
        for _ in 0..<2 { flops += s * 2 * (d * 3 * d + d * d + 2 * d * f) + 2 * 2 * s * s * d }  // encoder layers
        for _ in 0..<2 { flops += s * 2 * d * 2 * d }  // keys and values of its output
        for step in 0..<Int(t) {
            let layer = 2 * (d * 3 * d + d * d + 2 * d * d + 2 * d * f) + 2 * 2 * Double(step + 1) * d + 2 * 2 * s * d
            flops += (step == 0 ? 1 : 4) * (2 * layer + 2 * d * v)
        }
        #expect(abs(workload.flopsPerSource / flops - 1) < 1e-12)
    }
}
