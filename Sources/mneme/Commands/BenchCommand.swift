// mneme bench

import ArgumentParser
import Configuration
import Collectives
import Diagnostics
import Foundation
import Tensors
import Training

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Time training steps, decoding and attention of fixed models on random tokens, on one rank or under mpirun.",
        discussion: """
            A training step is what `mneme train` does: forward and backward pass, all-reduce, clipping and the update. Decoding gives every sentence
            the same number of tokens. Under mpirun every rank has a batch of the workload's size (weak scaling). Times are medians over steps after
            a warm-up; model GFLOP/s count what the mathematics asks for, and are also given as percent of what large matrix products alone reach in
            the same precision on the same cores at the same time.

            Workloads:
            \(Benchmark.all.map { "  \($0.name.padding(toLength: 20, withPad: " ", startingAt: 0))\($0.summary)" }.joined(separator: "\n"))

            Examples:
              mneme bench gpt-small
              mneme bench gpt2-124m encoder-decoder --threads 2 --seconds 30 --json
              mneme bench greedy beam --precision float32 --steps 3 --warm-up 1
              mneme bench attention --longest 4096
              mpirun -n 2 mneme bench gpt-small --json
              mneme bench kernels
              mneme bench search --rows 100000 --threads 2
              mneme bench memorizing --threads 2
              mneme bench bank --rows 100000 --scratch /scratch/me
              mneme bench gpt-small --profile
            """)

    @Argument(help: "Workloads, as listed above.")
    var names: [String] = []

    @Flag(help: "Print one JSON object a workload and line.")
    var json = false

    @Option(help: ArgumentHelp("Threads of a rank.", valueName: "count"))
    var threads = 1

    @Option(help: ArgumentHelp("Arithmetic of activations and matrix products: \(precisions).", valueName: "precision"))
    var precision = Precision.float32.rawValue

    @Option(help: ArgumentHelp("Timed steps go on for so long.", valueName: "seconds"))
    var seconds = 10.0

    @Option(help: ArgumentHelp("The fewest timed steps.", valueName: "count"))
    var steps = 5

    @Option(help: ArgumentHelp("Steps before the timed ones.", valueName: "count"))
    var warmUp = 2

    @Option(
        help: ArgumentHelp("Training: dropout rate instead of the workload's own; 0 makes losses comparable between programs.", valueName: "rate"))
    var dropout: Float?

    @Flag(help: "Training: add up time by operation, forward and backward, with the share of the whole.")
    var profile = false

    @Option(help: ArgumentHelp("attention: the most positions.", valueName: "positions"))
    var longest = 16_384

    @Option(help: ArgumentHelp("search, bank, memorizing: the rows among which is searched.", valueName: "count"))
    var rows = 1_000_000

    @Option(help: ArgumentHelp("bank: where the bank is made, on the disk that is to be measured.", valueName: "directory"))
    var scratch = "."

    private static var precisions: String { Precision.allCases.map(\.rawValue).joined(separator: " or ") }

    func validate() throws {
        let known = Benchmark.all.map(\.name).joined(separator: ", ")
        guard !names.isEmpty else { throw ValidationError("Name at least one workload: \(known).") }
        for name in names where Benchmark.named(name) == nil { throw ValidationError("There is no workload '\(name)'; choose from \(known).") }
        guard (1...1024).contains(threads) else { throw ValidationError("--threads must be 1 to 1024, not \(threads).") }
        guard Precision(rawValue: precision) != nil else { throw ValidationError("--precision must be \(Self.precisions), not '\(precision)'.") }
        guard seconds.isFinite, seconds >= 0 else { throw ValidationError("--seconds must not be negative.") }
        try requireRange("--steps", steps, 1...1_000_000)
        try requireRange("--warm-up", warmUp, 0...1_000_000)
        if let dropout, !(dropout >= 0 && dropout < 1) { throw ValidationError("--dropout must be at least 0 and below 1, not \(dropout).") }
        try requireRange("--longest", longest, 1...1 << 20)
        try requireRange("--rows", rows, 1...1 << 40)
    }

    func run() throws {
        ProgramStart.run { communicator in
            var settings = BenchmarkSettings()
            settings.threads = threads
            settings.precision = Precision(rawValue: precision) ?? .float32
            settings.seconds = seconds
            settings.minimumSteps = steps
            settings.warmUpSteps = warmUp
            settings.dropout = dropout
            settings.longest = longest
            settings.searchRows = rows
            settings.scratchDirectory = scratch
            settings.profiles = profile
            settings.cacheDirectory = ProgramStart.cacheDirectory
            if communicator.rank == 0, let hint = ProgramStart.blasHint { CommandLineOutput.note(hint) }
            for benchmark in names.compactMap(Benchmark.named) {
                // Each has its own peak of memory.
                MemoryPool.shared.trim()
                ProcessorMeasurement.resetPeakResidentBytes()
                try benchmark.run(settings, communicator) { report in
                    guard communicator.rank == 0 else { return }
                    if json { try JSONOutput.print(report) } else { try print(report.text, terminator: "") }
                    fflush(nil)
                }
            }
            return .finished
        }
    }
}
