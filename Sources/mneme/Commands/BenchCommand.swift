// mneme bench

import ArgumentParser
import Collectives
import Diagnostics
import Foundation
import Training

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Time training steps of fixed models on random tokens, on one rank or under mpirun.",
        discussion: """
            A step is what `mneme train` does: forward and backward pass, all-reduce, clipping and AdamW. Under mpirun every rank has a batch of the
            workload's size (weak scaling). Times are medians over steps after a warm-up; model GFLOP/s count what the mathematics asks for, and are also
            given as percent of what SGEMM alone reaches on the same cores at the same time.

            Workloads:
            \(TrainingWorkload.all.map { "  \($0.name.padding(toLength: 17, withPad: " ", startingAt: 0))\($0.summary)" }.joined(separator: "\n"))
              kernels          every SIMD kernel on one thread, against memory bandwidth and peak arithmetic

            Examples:
              mneme bench gpt-small
              mneme bench gpt2-124m encoder-decoder --threads 2 --seconds 30 --json
              mpirun -n 2 mneme bench gpt-small --json
              mneme bench kernels
            """)

    @Argument(help: "Workloads, as listed above.")
    var names: [String] = []

    @Flag(help: "Print one JSON object a workload and line.")
    var json = false

    @Option(help: ArgumentHelp("BLAS threads of a rank.", valueName: "count"))
    var threads = 1

    @Option(help: ArgumentHelp("Timed steps go on for so long; at least 5 are made.", valueName: "seconds"))
    var seconds = 10.0

    @Option(help: ArgumentHelp("Dropout rate instead of the workload's own; 0 makes losses comparable between programs.", valueName: "rate"))
    var dropout: Float?

    func validate() throws {
        let known = (TrainingWorkload.all.map(\.name) + [KernelReport.name]).joined(separator: ", ")
        guard !names.isEmpty else { throw ValidationError("Name at least one workload: \(known).") }
        for name in names where name != KernelReport.name && TrainingWorkload.named(name) == nil { throw ValidationError("There is no workload '\(name)'; choose from \(known).") }
        guard (1...1024).contains(threads) else { throw ValidationError("--threads must be 1 to 1024, not \(threads).") }
        guard seconds.isFinite, seconds >= 0 else { throw ValidationError("--seconds must not be negative.") }
        if let dropout, !(dropout >= 0 && dropout < 1) { throw ValidationError("--dropout must be at least 0 and below 1, not \(dropout).") }
    }

    func run() throws {
        ProgramStart.run { communicator in
            var settings = TrainingBenchmark.Settings()
            settings.threads = threads
            settings.seconds = seconds
            settings.dropout = dropout
            let benchmark = TrainingBenchmark(communicator: communicator, settings: settings)
            if communicator.rank == 0, let hint = ProgramStart.blasHint { CommandLineOutput.note(hint) }
            if names.contains(KernelReport.name), communicator.rank == 0 { try KernelReport.write(seconds: seconds, json: json) }
            for workload in names.compactMap(TrainingWorkload.named) {
                let result = try benchmark.run(workload)
                guard communicator.rank == 0 else { continue }
                let text = json ? try JSONLine.encode(result) + "\n" : Self.text(result)
                try FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
            }
            return .finished
        }
    }

    private static func text(_ result: TrainingBenchmarkResult) -> String {
        func number(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }
        let megabytes = 1e6
        let losses = result.losses
        return """
            \(result.workload): \(result.parameters) parameters, \(result.ranks == 1 ? "1 rank" : "\(result.ranks) ranks") x \(result.threads == 1 ? "1 thread" : "\(result.threads) threads")
              tokens/s         \(number(result.tokensPerSecond))
              seconds a step   \(number(result.secondsMedian, 4)) (median of \(result.steps); \(number(result.secondsMinimum, 4)) to \(number(result.secondsMaximum, 4)))
              model GFLOP/s    \(number(result.gflopsPerSecond)), \(number(result.percentOfSgemm)) % of SGEMM's \(number(result.sgemmGflopsPerSecond))
              peak memory      \(number(Double(result.peakResidentBytes) / megabytes, 0)) MB resident, tensors \(number(Double(result.poolPeakUsedBytes) / megabytes, 0)) MB in use, \(number(Double(result.poolReservedBytes) / megabytes, 0)) MB kept
              allocations      \(number(result.poolSystemAllocationsPerStep, 2)) of the system a step
              loss             \(number(losses[0], 4)) at step 1, \(number(losses[losses.count - 1], 4)) at step \(losses.count)

            """
    }
}
