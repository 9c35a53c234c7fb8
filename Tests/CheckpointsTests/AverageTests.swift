// The mean of several checkpoints.

import Checkpoints
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite struct AverageTests {
    @Test("the mean in float64, rounded once, whatever the order and the number of ranks; nothing but parameters")
    func mean() throws {
        try withScratchDirectory { directory in
            let samples = (1...3).map { Sample(seed: UInt64($0)) }
            for (index, sample) in samples.enumerated() { try sample.save(to: "\(directory)/run", step: 10 * (index + 1), worldSize: index + 1) }
            func average(_ steps: [Int], to name: String) throws -> CheckpointReader {
                let readers = try steps.map { try CheckpointReader(directory: "\(directory)/run/step-\($0)") }
                #expect(try CheckpointAverage.write(readers, to: "\(directory)/\(name)") == (30, Sample.shapes.count))
                return try CheckpointReader(directory: "\(directory)/\(name)/step-30")
            }
            let result = try average([10, 20, 30], to: "average")
            for (name, _) in Sample.shapes {
                let expected = samples[0].values[name]!.indices.map { index in
                    Float((Double(samples[0].values[name]![index]) + Double(samples[1].values[name]![index]) + Double(samples[2].values[name]![index])) / 3)
                }
                #expect(try result.elements(name, as: Float.self) == expected, "\(name)")
            }
            #expect(result.items.count == Sample.shapes.count)
            #expect(result.attributes["averaged_steps"] == .integers([10, 20, 30]) && result.attributes["tokens"] == .integer(1 << 40))
            #expect(try average([30, 10, 20], to: "other").verify() == result.verify())
        }
    }

    @Test("other shapes and damage are refused, and nothing is written")
    func refusals() throws {
        try withScratchDirectory { directory in
            try Sample(seed: 1).save(to: "\(directory)/run", step: 10, worldSize: 2)
            func message(_ items: [CheckpointItem]) throws -> String {
                let writer = CheckpointWriter(directory: "\(directory)/other", rank: 0, worldSize: 1, keep: 1)
                writer.begin(step: 20, attributes: [:], items: items)
                try writer.waitForShard()
                try writer.publish()
                let readers = try ["run/step-10", "other/step-20"].map { try CheckpointReader(directory: "\(directory)/\($0)") }
                let error = try #require(throws: UserError.self) { _ = try CheckpointAverage.write(readers, to: "\(directory)/average") }
                #expect(!FileManager.default.fileExists(atPath: "\(directory)/average"))
                return error.description.replacing(directory, with: "")
            }
            let items = Array(Sample(seed: 2).items(rank: 0, worldSize: 1).prefix(5))
            #expect(
                try message(items)
                    == "/run/step-10: it has 'parameters/empty', which /other/step-20 has not; average checkpoints of the same model")
            #expect(
                try message(Array(items.prefix(4)) + [CheckpointItem("parameters/scale", .float32, elements: [Float](repeating: 1, count: 4))])
                    == "/run/step-10: 'parameters/scale' is float32 [], and float32 [4] in /other/step-20; average checkpoints of the same model")
            #expect(
                try message(items + [CheckpointItem("parameters/more", .float32, elements: [Float(1)])])
                    == "/run/step-10: it has no 'parameters/more', which /other/step-20 has; average checkpoints of the same model")
            #expect(truncate("\(directory)/run/step-10/shard-1-of-2.h5", 100) == 0)
            let whole = Sample(seed: 2)
            try whole.save(to: "\(directory)/whole", step: 30, worldSize: 1)
            let readers = try ["run/step-10", "whole/step-30"].map { try CheckpointReader(directory: "\(directory)/\($0)") }
            let error = try #require(throws: UserError.self) { _ = try CheckpointAverage.write(readers, to: "\(directory)/average") }
            #expect(error.exitCode == .badData)
        }
    }
}
