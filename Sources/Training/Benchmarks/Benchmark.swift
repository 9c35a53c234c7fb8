// What a benchmark is to the command that runs it.

import Collectives

/// The figures of a benchmark: one JSON object, and a text for people.
package protocol BenchmarkReport: Encodable, Sendable {
    /// Some lines, the last one ended.
    var text: String { get }
}

/// Something that `mneme bench` measures.
package struct Benchmark: Sendable {
    /// The name on the command line.
    package let name: String
    /// What is measured, in one line.
    package let summary: String
    /// Measures, handing over each report as soon as it is complete. Collective; the reports of rank 0 are those to print.
    package let run: @Sendable (BenchmarkSettings, any Communicator, (any BenchmarkReport) throws -> Void) throws -> Void

    /// Every benchmark: training steps by rising cost, decoding, then parts of a step.
    package static let all: [Benchmark] =
        TrainingWorkload.all.map(training) + MemoryWorkload.all.map(training) + DecodingWorkload.all.map(decoding) + [
            memoryCost, attention, kernels, tape, rowGradients, search, bank, memorizing,
        ]

    /// The benchmark of that name.
    package static func named(_ name: String) -> Benchmark? { all.first { $0.name == name } }

    private static func training(_ workload: any StepWorkload) -> Benchmark {
        Benchmark(name: workload.name, summary: workload.summary) { settings, communicator, report in
            try report(TrainingBenchmark(communicator: communicator, settings: settings).run(workload))
        }
    }

    private static func decoding(_ workload: DecodingWorkload) -> Benchmark {
        Benchmark(name: workload.name, summary: workload.summary) { settings, communicator, report in
            try report(DecodingBenchmark(communicator: communicator, settings: settings).run(workload))
        }
    }

    private static let memoryCost = Benchmark(
        name: "memory-cost", summary: "steps of Turing machines and neural computers against memory rows, memory width and batch"
    ) { settings, communicator, report in
        var settings = settings
        settings.seconds /= Double(MemoryWorkload.costs.count)
        let benchmark = TrainingBenchmark(communicator: communicator, settings: settings)
        for workload in MemoryWorkload.costs { try report(benchmark.run(workload)) }
    }

    private static let attention = Benchmark(name: AttentionBenchmark.name, summary: AttentionBenchmark.summary) { settings, communicator, report in
        let benchmark = AttentionBenchmark(communicator: communicator, settings: settings)
        for positions in benchmark.lengths { try report(benchmark.run(positions: positions)) }
    }

    private static let kernels = Benchmark(name: KernelBenchmark.name, summary: KernelBenchmark.summary) { settings, communicator, report in
        // Shared over about a hundred measurements.
        if communicator.rank == 0 { try report(KernelBenchmark(seconds: settings.seconds / 100).run()) }
        try communicator.barrier()
    }

    private static let tape = Benchmark(name: TapeBenchmark.name, summary: TapeBenchmark.summary) { settings, communicator, report in
        settings.applyThreads()
        try TapeBenchmark(settings: settings).run(report)
        try communicator.barrier()
    }

    private static let rowGradients = Benchmark(
        name: RowGradientBenchmark.name, summary: RowGradientBenchmark.summary
    ) { settings, communicator, report in
        if communicator.rank == 0 { try RowGradientBenchmark(settings: settings).run(report) }
        try communicator.barrier()
    }

    private static let search = Benchmark(name: SearchBenchmark.name, summary: SearchBenchmark.summary) { settings, communicator, report in
        try report(SearchBenchmark(communicator: communicator, settings: settings).run())
    }

    private static let bank = Benchmark(name: BankBenchmark.name, summary: BankBenchmark.summary) { settings, communicator, report in
        try report(BankBenchmark(communicator: communicator, settings: settings).run())
    }

    private static let memorizing = Benchmark(
        name: MemorizingBenchmark.name, summary: MemorizingBenchmark.summary
    ) { settings, communicator, report in
        settings.applyThreads()
        if communicator.rank == 0 { try report(MemorizingBenchmark(settings: settings).run()) }
        try communicator.barrier()
    }
}
