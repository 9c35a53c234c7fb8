// Signals that come while oneDNN computes.

import CSignals
import Collectives
import Foundation
import TestSupport
import Tensors

enum SignalChecks {
    /// A product's shape: M, N, K, and whether A and B are stored transposed. Those of a small decoder's layers, forwards and backwards.
    private static let shapes: [(m: Int, n: Int, k: Int, a: Transposition, b: Transposition)] = [
        (384, 192, 64, .none, .transposed), (384, 64, 256, .none, .transposed), (384, 256, 64, .none, .transposed),
        (384, 64, 192, .none, .none), (64, 256, 384, .transposed, .none), (192, 64, 768, .transposed, .none),
    ]

    /// Products keep their bits, and the heap stays whole, while the thread that computes catches twenty thousand signals.
    static func products(_ communicator: any Communicator) throws {
        guard OneDNN.isAvailable else { return print("there is no oneDNN") }
        try check(mneme_catch_signal(SIGUSR2) == 0, "the signal cannot be caught")
        let operands = shapes.map { randomTensor("a", [$0.m * $0.k]) }
        let others = shapes.map { randomTensor("b", [$0.k * $0.n]) }
        func product(_ index: Int) -> [Float] {
            let shape = shapes[index]
            let c = Tensor(uninitialized: [shape.m, shape.n])
            multiplyMatrices(
                using: .oneDNN, into: MatrixResult(c),
                MatrixOperand(operands[index].floats, leading: shape.a == .none ? shape.k : shape.m, shape.a),
                MatrixOperand(others[index].floats, leading: shape.b == .none ? shape.n : shape.k, shape.b), m: shape.m, n: shape.n, k: shape.k)
            return c.array
        }
        let expected = shapes.indices.map(product)
        nonisolated(unsafe) let computing = pthread_self()
        let sender = Thread {
            for _ in 0..<20_000 {
                pthread_kill(computing, SIGUSR2)
                usleep(20)
            }
        }
        sender.start()
        while !sender.isFinished {
            for index in shapes.indices {
                // What lies beside oneDNN's own buffers.
                let neighbours = (1...8).map { [UInt8](repeating: UInt8($0), count: 1500 * $0) }
                try check(product(index) == expected[index], "product \(index) has other bits than without signals")
                try check(neighbours.allSatisfy { block in block.allSatisfy { $0 == block[0] } }, "memory beside product \(index) has changed")
            }
        }
        try check(mneme_caught_signal() == SIGUSR2, "no signal was caught")
    }
}
