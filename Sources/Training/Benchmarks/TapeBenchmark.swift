// What the tape costs beyond arithmetic: nanoseconds of one small operation, recorded and run backwards, on short and on long tapes; and of the
// operations of memory cells at their usual size.
//
// Legend: B batch, N memory rows, M row width.

import Kernels
import Tensors

/// Times of one operation of a tape, in nanoseconds: the best of many tapes, since whatever disturbs a measurement makes it longer.
package struct TapeFigures: BenchmarkReport, Codable {
    /// "tape".
    package var workload: String
    /// The operation.
    package var operation: String
    /// Operations on the tape.
    package var length: Int
    /// The forward pass, with what the operation computes.
    package var nanosecondsRecorded: Double
    /// Both passes, with what the operation and its gradient compute.
    package var nanosecondsBoth: Double
    /// The kernels that both passes call, alone; `nil` where they are not measured.
    package var nanosecondsKernels: Double?

    package var text: String {
        let kernels = nanosecondsKernels.map { ", of which kernels \(decimal($0, 0))" } ?? ""
        return "tape of \(length) x \(operation): \(decimal(nanosecondsRecorded, 0)) ns recorded, "
            + "\(decimal(nanosecondsBoth, 0)) ns forward and backward\(kernels)\n"
    }
}

/// Measures the tape.
package struct TapeBenchmark {
    package static let name = "tape"
    package static let summary =
        "nanoseconds of one operation, recorded and run backwards: 16 elements on short and long tapes; an NTM's at its usual size"

    /// Operations on a short and on a long tape.
    private static let lengths = [32, 10_000]

    private let settings: BenchmarkSettings

    package init(settings: BenchmarkSettings) { self.settings = settings }

    /// Measures every operation, each for a share of the seconds asked for.
    package func run(_ report: (any BenchmarkReport) throws -> Void) throws {
        let cases = Self.small.flatMap { small in Self.lengths.map { (small, $0) } } + Self.memoryCells.map { ($0, 32) }
        let seconds = settings.seconds / Double(cases.count)
        let scratch = Tensor(zeros: [48])
        for (operation, length) in cases {
            let values = operation.inputs.enumerated().map { ProcessorMeasurement.random($1, .float32, key: UInt64($0 + 1)) }
            let tape = best(seconds) { operation.run(length, values) }
            let kernels = operation.kernels.map { kernels in
                best(0) {
                    let begin = ContinuousClock.now
                    for _ in 0..<1000 { kernels(scratch.floats) }
                    return [begin.duration(to: .now)]
                }
            }
            try report(
                TapeFigures(
                    workload: Self.name, operation: operation.name, length: length, nanosecondsRecorded: tape[0] / Double(length),
                    nanosecondsBoth: tape[1] / Double(length), nanosecondsKernels: kernels.map { $0[0] / 1000 }))
        }
    }

    /// Nanoseconds: the shortest of each of the times that many calls give, at least `minimumSteps`, after those of the warm-up.
    private func best(_ seconds: Double, _ body: () -> [Duration]) -> [Double] {
        var shortest = body()
        for _ in 1..<max(1, settings.warmUpSteps) { shortest = body() }
        let start = ContinuousClock.now
        var calls = 0
        while calls < settings.minimumSteps || start.duration(to: .now).seconds < seconds {
            shortest = zip(shortest, body()).map(min)
            calls += 1
        }
        return shortest.map { $0.seconds * 1e9 }
    }

    /// One operation: how it is put on a tape, and the kernels that it calls.
    private struct Operation: Sendable {
        let name: String
        /// The shapes of its inputs.
        let inputs: [Shape]
        /// Calls the kernels of both passes on 48 elements of memory.
        var kernels: (@Sendable (UnsafeMutablePointer<Float>) -> Void)?
        /// Puts so many of it on the tape of the inputs, and returns the results that a gradient is given to.
        let apply: @Sendable (_ inputs: [Tensor], _ length: Int) -> [Tensor]

        /// Each takes the result of the one before.
        init(
            _ name: String, chained inputs: [Shape], kernels: @escaping @Sendable (UnsafeMutablePointer<Float>) -> Void,
            _ chain: @escaping @Sendable (_ inputs: [Tensor], _ length: Int) -> Tensor
        ) {
            (self.name, self.inputs, self.kernels) = (name, inputs, kernels)
            apply = { inputs, length in [chain(inputs, length)] }
        }

        /// All take the same inputs.
        init(_ name: String, _ inputs: [Shape], _ operation: @escaping @Sendable ([Tensor]) -> Tensor) {
            (self.name, self.inputs) = (name, inputs)
            apply = { inputs, length in (0..<length).map { _ in operation(inputs) } }
        }

        /// Fills a tape, and runs it backwards from gradients of 1.
        /// - Returns: the time until it is full, and that of both passes.
        func run(_ length: Int, _ values: [Tensor]) -> [Duration] {
            let begin = ContinuousClock.now
            let tape = Tape()
            let results = apply(values.map { tape.variable($0) }, length)
            let recorded = begin.duration(to: .now)
            guard let last = results.last else { preconditionFailure("a tape of no operations") }
            let seed = Tensor(repeating: 1, last.shape)
            for result in results.dropLast() { result.node?.accumulate(seed) }
            tape.backward(from: last, gradient: seed)
            return [recorded, begin.duration(to: .now)]
        }
    }

    private static let small: [Operation] = [
        Operation(
            "x * 0.99, [16]", chained: [[16]],
            kernels: { for _ in 0..<2 { Kernels.active.affine($0, $0 + 16, scale: 0.99, offset: 0, 16) } }
        ) { inputs, length in
            var x = inputs[0]
            for _ in 0..<length { x = x * 0.99 }
            return x
        },
        Operation(
            "tanh x, [16]", chained: [[16]],
            kernels: {
                Kernels.active.unary(.hyperbolicTangent, $0, $0 + 16, 16)
                Kernels.active.unaryGradient(.hyperbolicTangent, $0, outputGradient: $0 + 16, input: $0 + 32, output: $0 + 32, 16)
            }
        ) { inputs, length in
            var x = inputs[0]
            for _ in 0..<length { x = x.hyperbolicTangent() }
            return x
        },
        Operation(
            "x * y, [16]", chained: [[16], [16]],
            kernels: {
                for _ in 0..<2 { Kernels.active.multiply($0, $0 + 16, $0 + 32, 16) }
                Kernels.active.addProduct($0, $0 + 16, $0 + 32, 16)
            }
        ) { inputs, length in
            var x = inputs[0]
            let y = inputs[1]
            for _ in 0..<length { x = x * y }
            return x
        },
    ]

    private static let (batch, heads, rows, width) = (16, 1, 128, 20)

    /// Operations on a memory (Graves et al. 2014), for B 16, N 128, M 20 and one head.
    private static let memoryCells: [Operation] = [
        Operation("softmax of scores", [[batch, rows]]) { softmax($0[0]) },
        Operation("read, weights times memory", [[batch, heads, rows], [batch, rows, width]]) { matmul($0[0], $0[1]) },
        Operation("memory * gate", [[batch, rows, width], [batch, rows, width]]) { $0[0] * $0[1] },
    ]
}
