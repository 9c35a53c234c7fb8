// A small made-up model state, saved by any number of ranks in one process.

import Checkpoints
import Collectives
import Foundation
import HDF5

/// The state that the tests save: replicated parameters large and small, memory of lanes, and positions.
struct Sample {
    /// Lanes of the global batch.
    static let lanes = 8
    /// Parameters by name, with their shapes. The first is large enough to be split by rows.
    static let shapes: [(name: String, shape: [Int])] = [
        ("parameters/embedding.weight", [1000, 48]), ("parameters/blocks.0.attention.qkv.weight", [48, 144]),
        ("parameters/blocks.0.attention.qkv.bias", [144]), ("parameters/head.weight", [300, 96]),
        ("parameters/scale", []), ("parameters/empty", [0, 4]),
    ]

    var values: [String: [Float]] = [:]
    /// [lanes, 3, 16]
    var memory: [Float]
    var positions: [Int64]

    init(seed: UInt64) {
        var generator = SplitMix(state: seed)
        func draw(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &generator) } }
        for (name, shape) in Sample.shapes { values[name] = draw(shape.reduce(1, *)) }
        memory = draw(Sample.lanes * 48)
        positions = (0..<Sample.lanes).map { _ in Int64.random(in: 0...Int64.max, using: &generator) }
    }

    /// The lanes of a rank, where lanes are dealt out in pairs: not one run of rows.
    static func lanes(rank: Int, worldSize: Int) -> [Range<Int>] {
        stride(from: rank * 2, to: lanes, by: worldSize * 2).map { $0..<$0 + 2 }
    }

    func items(rank: Int, worldSize: Int) -> [CheckpointItem] {
        let lanes = Sample.lanes(rank: rank, worldSize: worldSize)
        return Sample.shapes.map { CheckpointItem($0.name, .float32, shape: $0.shape, elements: values[$0.name]!) } + [
            CheckpointItem(
                "memory/segment", .float32, shape: [Sample.lanes, 3, 16], placement: .rows(lanes),
                elements: lanes.flatMap { memory[$0.lowerBound * 48..<$0.upperBound * 48] }),
            CheckpointItem("loader/position", .int64, shape: [Sample.lanes], placement: .rows(lanes), elements: lanes.flatMap { positions[$0] }),
            CheckpointItem("random/state", .uint64, elements: [UInt64.max, 1]),
        ]
    }

    /// Saves with `worldSize` writers, as so many ranks would.
    func save(to directory: String, step: Int, worldSize: Int, keep: Int = 3, hasParity: Bool = false) throws {
        let writers = (0..<worldSize).map {
            CheckpointWriter(directory: directory, rank: $0, worldSize: worldSize, keep: keep, hasParity: hasParity)
        }
        for writer in writers {
            writer.begin(
                step: step, attributes: ["configuration": .string("run: sample\n"), "tokens": .integer(1 << 40), "loss": .real(2.5)],
                items: items(rank: writer.rank, worldSize: worldSize))
        }
        for writer in writers { try writer.waitForShard() }
        if hasParity {
            for writer in writers { writer.startParity() }
            for writer in writers { try writer.waitForShard() }
        }
        try writers[0].publish()
    }

    /// Whether `reader` holds this state; the name of the first item that differs otherwise.
    func difference(from reader: CheckpointReader) throws -> String? {
        for (name, shape) in Sample.shapes {
            var read = [Float](repeating: .nan, count: shape.reduce(1, *))
            try read.withUnsafeMutableBytes { try reader.read(name, .float32, shape: shape, into: $0) }
            if read != values[name]! { return name }
        }
        if try reader.elements("memory/segment", as: Float.self) != memory { return "memory/segment" }
        if try reader.elements("loader/position", as: Int64.self) != positions { return "loader/position" }
        if try reader.elements("random/state", as: UInt64.self) != [.max, 1] { return "random/state" }
        return nil
    }
}

/// Parameters by name and shape, as a state of a run.
final class SampleState: RunState {
    let stateName = "parameters"
    let shapes: [(name: String, shape: [Int])]
    /// The values, one item after the other.
    let memory: UnsafeMutableBufferPointer<Float>

    init(_ shapes: [(name: String, shape: [Int])]) {
        self.shapes = shapes
        memory = .allocate(capacity: shapes.reduce(0) { $0 + $1.shape.reduce(1, *) })
        memory.initialize(repeating: 0)
    }

    deinit { memory.deallocate() }

    var registry: RunStateRegistry { RunStateRegistry([self]) }

    var stateItems: [StateItem] {
        var first = 0
        return shapes.map { name, shape in
            let part = UnsafeMutableBufferPointer(rebasing: memory[first..<first + shape.reduce(1, *)])
            first += part.count
            return StateItem(name, .float32, shape: shape, memory: UnsafeMutableRawBufferPointer(part))
        }
    }
}

/// The newest checkpoint that is whole. Nothing is restored, so that all of it is verified.
func newest(in directory: String) throws -> RestoredCheckpoint? {
    try RunStateRegistry([]).restoreNewest(from: CheckpointStore(directory: directory), communicator: SingleProcess()) { _ in }
}

/// A seeded generator (SplitMix64).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
