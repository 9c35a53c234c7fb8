// TensorBoard's event files: the bytes of frames, and what TensorBoard itself reads from them.

import Foundation
import TestSupport
import Testing

import Training

@Suite struct EventFileTests {
    @Test("CRC-32C of RFC 3720's examples")
    func checksum() {
        #expect(CRC32C.of(Array("123456789".utf8)) == 0xE306_9283)
        #expect(CRC32C.of([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.of([UInt8](repeating: 255, count: 32)) == 0x62A8_AB43)
        #expect(CRC32C.of(Array(0..<32)) == 0x46DD_794E)
        #expect(CRC32C.of([UInt8]()) == 0)
    }

    @Test("a full disk is told once, and ends nothing", .enabled(if: TinyDisk.isPermitted))
    func fullDisk() throws {
        try withTinyDisk(kilobytes: 64) { directory in
            let sink = EventFile(directory: directory, configuration: "steps: 1\n", host: "host")
            try sink.rewind(to: 0)
            let filler = try AppendedFile("\(directory)/filler")
            while filler.append([UInt8](repeating: 1, count: 4096)) == nil {}
            var problems: [String] = []
            for step in 1...200 {
                sink.record(sampleMetrics(step))
                if let problem = sink.takeProblem() { problems.append(problem) }
            }
            #expect(problems.count == 1 && problems[0].contains("No space left on device; the run goes on without TensorBoard"))
        }
    }

    @Test("each session has a file of its own, later ones behind earlier ones by name")
    func names() throws {
        try withScratchDirectory { directory in
            var files: Set<String> = []
            for _ in 0..<3 {
                try EventFile(directory: directory, configuration: "", host: "host").rewind(to: 0)
                let now = try FileManager.default.contentsOfDirectory(atPath: directory)
                let new = now.filter { !files.contains($0) }
                #expect(new.count == 1 && files.allSatisfy { $0 < new[0] })
                files.formUnion(new)
            }
            #expect(files.allSatisfy(MetricSinks.isOwn))
        }
    }

    @Test("TensorBoard reads scalars, the configuration and histograms, and forgets what a resume does again", .enabled(if: TensorBoard.isInstalled))
    func tensorBoardReads() throws {
        try withScratchDirectory { directory in
            let first = EventFile(directory: directory, configuration: "steps: 30\nmodel:\n  kind: lstm\n", host: "host")
            try first.rewind(to: 0)
            for step in [10, 20, 30] { first.record(sampleMetrics(step)) }
            let second = EventFile(directory: directory, configuration: "steps: 30\n", host: "host")
            try second.rewind(to: 20)
            // The evaluation that the stop of the first session left out.
            second.record(sampleMetrics(20, validation: TaskScores(examples: 1, loss: 2.5, scores: [.init("bits_per_byte", 1.25)])))
            var metrics = sampleMetrics(30)
            metrics[.loss] = 7
            second.record(metrics)
            second.record([GradientHistogram(name: "embedding.weight", values: [-1, 0.5, 0.5, 3], zeros: 4)], step: 30)

            let read = try TensorBoard.read(directory)
            let loss = try #require(read.scalars["training/loss"])
            #expect(loss.map(\.step) == [10, 20, 30] && loss.map(\.value) == [Float(1 / 30.0), Float(1 / 60.0), 7].map(Double.init))
            #expect(read.scalars["validation/loss"] == [.init(step: 20, value: 2.5)])
            #expect(read.scalars["validation/bits_per_byte"] == [.init(step: 20, value: 1.25)])
            #expect(read.scalars["speed/tokens_per_second"]?.count == 3 && read.scalars["training/step"] == nil)
            #expect(read.descriptions["training/loss"] == "mean training loss of the step's tokens (nats)")
            #expect(read.texts["configuration"]?.contains("    steps: 30\n") == true)
            let histogram = try #require(read.histograms["gradients/embedding.weight"])
            #expect(histogram.step == 30 && histogram.minimum == -1 && histogram.maximum == 3 && histogram.count == 8 && histogram.sum == 3)
            #expect(histogram.bucketCount == 8)
        }
    }
}

/// TensorBoard from PyPI, in a virtual environment beside the built programs.
private enum TensorBoard {
    struct Scalar: Decodable, Equatable {
        var step: Int
        var value: Double
    }
    struct Histogram: Decodable {
        var step: Int
        var minimum: Double
        var maximum: Double
        var count: Double
        var sum: Double
        var bucketCount: Double
    }
    struct Contents: Decodable {
        var scalars: [String: [Scalar]]
        var descriptions: [String: String]
        var texts: [String: String]
        var histograms: [String: Histogram]
    }

    private static let folder = MPIRun.productsFolder.appendingPathComponent("cache/tensorboard")

    /// Installs it the first time.
    static let isInstalled: Bool = {
        let python = folder.appendingPathComponent("bin/python").path
        if (try? run(python, ["-c", "import tensorboard"]))?.status == 0 { return true }
        let steps = [
            ("/usr/bin/env", ["python3", "-m", "venv", folder.path]),
            (python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "tensorboard", "setuptools<81"]),
            (python, ["-c", "import tensorboard"]),
        ]
        for (program, arguments) in steps {
            guard let end = try? run(program, arguments), end.status == 0 else {
                print("TensorBoard cannot be installed by '\(([program] + arguments).joined(separator: " "))': the test that reads its files back is skipped")
                return false
            }
        }
        return true
    }()

    static func read(_ directory: String) throws -> Contents {
        let end = try run(folder.appendingPathComponent("bin/python").path, ["-c", script, directory])
        try #require(end.status == 0, "\(end.standardError)")
        return try JSONDecoder().decode(Contents.self, from: Data(end.standardOutput.utf8))
    }

    private static func run(_ program: String, _ arguments: [String]) throws -> FinishedRun {
        try MPIRun.runAlone(executable: program, arguments: arguments)
    }

    private static let script = """
        import json, sys
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
        events.Reload()
        tags = events.Tags()
        histograms = {}
        for tag in tags["histograms"]:
            event = events.Histograms(tag)[-1]
            value = event.histogram_value
            histograms[tag] = dict(step=event.step, minimum=value.min, maximum=value.max, count=value.num, sum=value.sum, bucketCount=sum(value.bucket))
        print(json.dumps(dict(
            scalars={tag: [dict(step=event.step, value=event.value) for event in events.Scalars(tag)] for tag in tags["scalars"]},
            descriptions={tag: events.SummaryMetadata(tag).summary_description for tag in tags["scalars"]},
            texts={tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in tags["tensors"]},
            histograms=histograms)))
        """
}
