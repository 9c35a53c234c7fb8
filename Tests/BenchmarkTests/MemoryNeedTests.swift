import Collectives
import Diagnostics
import Foundation
import Optimizers
import Tensors
import TestSupport
import Testing
import Training

/// A run that needs more memory than the machine has is refused before anything is allocated.
@Suite struct MemoryNeedTests {
    @Test func bytesOfEachOptimizer() {
        func bytes(_ kind: OptimizerKind, momentum: Double = 0, _ activations: DataType = .float32) -> Int {
            MemoryNeed(parameters: 10, optimizer: OptimizerConfiguration(kind: kind, momentum: momentum), activations: activations).bytes
        }
        // State and gradients, and on top what a checkpoint copies: 4 bytes of a value and of each slot.
        #expect(bytes(.adamw) == 160 + 120 && bytes(.adamw, .bfloat16) == 180 + 120)
        #expect(bytes(.sgd) == 80 + 40 && bytes(.sgd, momentum: 0.9) == 120 + 80)
        #expect(bytes(.rmsprop) == 120 + 80 && bytes(.rmsprop, momentum: 0.9) == 160 + 120 && bytes(.adagrad) == 120 + 80)
        let shared = MemoryNeed(parameters: 10, optimizer: OptimizerConfiguration(), activations: .float32, ranks: 4, partialSums: 3)
        #expect(shared.bytes == 160 + 30 + 3 * 40)
    }

    @Test func slotsAreThoseOfTheOptimizer() throws {
        for kind in OptimizerKind.allCases {
            for momentum in [0, 0.5] where momentum == 0 || kind == .sgd || kind == .rmsprop {
                let configuration = OptimizerConfiguration(kind: kind, momentum: momentum)
                #expect(try makeOptimizer(configuration, parameterCount: 3).slots.count == configuration.slotCount, "\(kind) \(momentum)")
            }
        }
    }

    @Test func tooMuchIsOneLineWithCode78() throws {
        let need = MemoryNeed(parameters: 2_000_000_000, optimizer: OptimizerConfiguration(), activations: .float32)
        try need.check(SingleProcess(), available: 56_000_000_000)
        do {
            try need.check(SingleProcess(), available: 55_900_000_000)
            Issue.record("nothing was thrown")
        } catch let error as UserError {
            #expect(error.exitCode == .configuration)
            #expect(error.description.hasPrefix("model: 2,000,000,000 parameters with gradients, optimizer state and the copy for a checkpoint need 56.0 GB, but "))
            #expect(error.description.hasSuffix(" has 55.9 GB left; make model.layers or model.width smaller or use a machine with more memory"))
        }
    }

    @Test func whatIsNoNumberOfBytesIsTooMuch() throws {
        for need in [
            MemoryNeed(parameters: .max / 8, optimizer: OptimizerConfiguration(), activations: .bfloat16, partialSums: 9),
            MemoryNeed(parameters: 1, optimizer: OptimizerConfiguration(), activations: .float32, lanes: 1 << 40, laneBytes: 1 << 40),
        ] {
            #expect(need.bytes == .max)
            #expect(throws: UserError.self) { try need.check(SingleProcess(), available: 1 << 50) }
        }
        let batch = MemoryNeed(parameters: 1000, optimizer: OptimizerConfiguration(), activations: .float32, lanes: 1 << 20, laneBytes: 1 << 13)
        let error = #expect(throws: UserError.self) { try batch.check(SingleProcess(), available: 1 << 32) }
        #expect(error?.place == "batch" && error?.exitCode == .configuration)
    }

    @Test func theMachineSaysWhatItHas() throws {
        guard FileManager.default.fileExists(atPath: "/proc/meminfo") else { return }
        let available = try #require(SystemMemory.availableBytes)
        #expect(available > 1 << 20 && available < 1 << 50)
    }
}
