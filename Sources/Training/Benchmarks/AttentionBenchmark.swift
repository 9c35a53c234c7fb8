// Time and memory of causal self-attention by length, forward and backward: what it costs beyond the matrix products of its layer.
//
// Legend: T positions, H heads, K head size, D = H K width.

import Collectives
import Kernels
import Tensors

/// What the attention benchmark reports beside the common figures, for one T. A step is a forward and a backward pass of one sequence.
package struct AttentionDetails: BenchmarkDetails {
    /// T, H and K.
    package var positions: Int
    package var heads: Int
    package var headSize: Int
    /// The middle times of the forward and of the backward passes of this rank, in seconds.
    package var forwardSecondsMedian: Double
    package var backwardSecondsMedian: Double
    /// The shortest time of both passes of the plain form, spelled out with matrices of all T x T scores, in float32; `nil` beyond 4,096 positions.
    package var plainSeconds: Double?
    /// The shortest time of both passes in blocks.
    package var seconds: Double
    /// Positions a second over all ranks, by the median.
    package var positionsPerSecond: Double
    /// Bytes that rank 0's tensor pool asked of the system for this T, inputs and gradients included.
    package var tensorBytes: Int

    package var heading: String { "\(positions) positions, \(heads) heads of \(headSize)" }
    package var firstLines: [(label: String, value: String)] {
        [
            (
                "positions/s",
                "\(decimal(positionsPerSecond, 0)); forward \(decimal(forwardSecondsMedian, 4)) s, "
                    + "backward \(decimal(backwardSecondsMedian, 4)) s"
            )
        ]
    }
    package var lastLines: [(label: String, value: String)] {
        [
            (
                "plain form",
                plainSeconds.map { "\(decimal($0, 4)) s at best, \(decimal($0 / seconds, 2)) times as long as in blocks" }
                    ?? "not measured at this length"
            ),
         ("tensors", "\(decimal(Double(tensorBytes) / 1e6, 1)) MB in all, \(tensorBytes / positions) bytes a position")]
    }
}

package typealias AttentionBenchmarkResult = BenchmarkResult<AttentionDetails>

/// Runs attention over one sequence, with query, key and value from one packed tensor as in a layer.
package struct AttentionBenchmark {
    package static let name = "attention"
    package static let summary = "causal attention alone, forward and backward: 12 heads of 64, one sequence of 512, 1024, ... 16384 positions"

    private static let (heads, headSize) = (12, 64)

    private let communicator: any Communicator
    private let settings: BenchmarkSettings

    package init(communicator: any Communicator, settings: BenchmarkSettings) {
        self.communicator = communicator
        self.settings = settings
    }

    /// T, doubled from 512 to the longest asked for; that alone where it is shorter.
    package var lengths: [Int] {
        let lengths = Array(sequence(first: 512) { $0 * 2 <= settings.longest ? $0 * 2 : nil })
        return settings.longest < 512 ? [settings.longest] : lengths
    }

    /// Floating-point operations of both passes for T positions: scores and weighted sums over the keys that a causal mask leaves, 4 T^2 D / 2
    /// forward and twice that backward. What is computed again backward instead of being kept is not counted.
    package static func flops(positions: Int) -> Double { 6 * Double(positions) * Double(positions) * Double(heads * headSize) }

    /// Times one length. Collective.
    ///
    /// - Throws: `UserError` from the communicator.
    package func run(positions: Int) throws -> AttentionBenchmarkResult {
        let (width, type) = (Self.heads * Self.headSize, settings.precision.activations)
        settings.applyThreads()
        try communicator.barrier()
        let peak = try communicator.allReduced(ProcessorMeasurement.matrixMultiplyRate(type), .sum)
        MemoryPool.shared.trim()
        ProcessorMeasurement.resetPeakResidentBytes()
        let reservedBefore = MemoryPool.shared.statistics.reservedBytes

        let packed = Self.random([1, positions, 3 * width], type, key: 1)
        let gradient = Self.random([1, positions, width], type, key: 2)
        var (forward, backward): ([Double], [Double]) = ([], [])
        let timings = try StepTimings.measured(settings, communicator) { number in
            let start = ContinuousClock.now
            let tape = Tape()
            let input = tape.variable(packed)
            let output = attention(
                query: AttentionOperand(input), key: AttentionOperand(input, column: width), value: AttentionOperand(input, column: 2 * width),
                width: width, heads: Self.heads, mask: AttentionMask(causal: true))
            let middle = ContinuousClock.now
            tape.backward(from: output, gradient: gradient)
            let end = ContinuousClock.now
            guard number > settings.warmUpSteps else { return }
            forward.append(start.duration(to: middle).seconds)
            backward.append(middle.duration(to: end).seconds)
        }
        let figures = try StepFigures(
            workload: Self.name, settings: settings, communicator: communicator, timings: timings,
            gflop: Double(communicator.size) * Self.flops(positions: positions) / 1e9, peak: peak)
        // Last, since its memory is not attention's.
        let plain = positions <= Self.longestPlain ? Self.plainSeconds(packed.converted(to: .float32), gradient.converted(to: .float32)) : nil
        let details = AttentionDetails(
            positions: positions, heads: Self.heads, headSize: Self.headSize, forwardSecondsMedian: StepTimings.quantile(0.5, of: forward.sorted()),
            backwardSecondsMedian: StepTimings.quantile(0.5, of: backward.sorted()),
            plainSeconds: plain, seconds: zip(forward, backward).map(+).min() ?? 0,
            positionsPerSecond: Double(communicator.size * positions) / figures.secondsMedian,
            tensorBytes: figures.poolReservedBytes - reservedBefore)
        return AttentionBenchmarkResult(figures: figures, details: details)
    }

    /// The longest sequence for which the plain form is measured: its scores take 800 MB there.
    private static let longestPlain = 4096

    /// The shortest of three runs of both passes of softmax(Q K^T / sqrt(K) + mask) V, operation by operation, after a first one.
    private static func plainSeconds(_ packed: Tensor, _ gradient: Tensor) -> Double {
        let length = packed.shape[1]
        let mask = Tensor((0..<length * length).map { $0 % length <= $0 / length ? 0 : -Float.infinity }, [length, length])
        var best = Double.infinity
        for number in 0..<4 {
            let start = ContinuousClock.now
            let tape = Tape()
            let parts = tape.variable(packed).reshaped(to: [length, 3, heads, headSize]).permuted(1, 2, 0, 3)
            let operands = (0..<3).map { parts.slice($0..<$0 + 1, axis: 0).reshaped(to: [heads, length, headSize]) }
            let scores = matmul(operands[0], operands[1], transposeB: true) + mask
            let weights = softmax(scores, scale: 1 / Float(headSize).squareRoot())
            let output = matmul(weights, operands[2]).permuted(1, 0, 2).reshaped(to: [1, length, heads * headSize])
            tape.backward(from: output, gradient: gradient)
            if number > 0 { best = min(best, start.duration(to: .now).seconds) }
        }
        return best
    }

    private static func random(_ shape: Shape, _ type: DataType, key: UInt64) -> Tensor {
        ProcessorMeasurement.random(shape, type, key: key)
    }
}
