// Times the SIMD kernels against the bytes that they must move and the arithmetic that they must do.
//
// Legend: n elements, R rows, C columns.

import Kernels
import Tensors

/// One kernel at one size, on one thread.
package struct KernelMeasurement: Codable, Sendable {
    /// The kernel, and the element types of its arrays.
    package var kernel: String
    package var types: String
    /// "cache" where the arrays together fit the second-level cache, "memory" where they are beyond every cache.
    package var residence: String
    package var elements: Int
    /// Bytes that one pass must read and write, each array once.
    package var bytes: Int
    /// The shortest and the middle pass, in seconds.
    package var seconds: Double
    package var secondsMedian: Double
    package var gigabytesPerSecond: Double
    /// `gigabytesPerSecond` as percent of the memory bandwidth.
    package var percentOfBandwidth: Double
    package var elementsPerSecond: Double
    /// `seconds` over the larger of the time that the bytes take at memory bandwidth and the time that the arithmetic takes at peak. In memory the
    /// bandwidth is that of the passes of STREAM's add that took turns with the kernel's, so that other load on the machine weighs on both.
    package var ratio: Double
}

/// The kernels' figures and the yardsticks they were taken with, one thread each.
package struct KernelBenchmarkResult: Codable, Sendable {
    package var processor: String
    package var instructionSet: String
    /// STREAM's add over arrays beyond any cache, the best of passes taken between the kernels; GB/s.
    package var bandwidthGigabytesPerSecond: Double
    /// SGEMM, GFLOP/s.
    package var peakGflopsPerSecond: Double
    package var loadAverage: Double
    package var kernels: [KernelMeasurement]
}

/// Runs every kernel in cache and in memory.
package struct KernelBenchmark {
    package static let name = "kernels"
    package static let summary = "every SIMD kernel on one thread, against memory bandwidth and peak arithmetic"

    /// A kernel as the benchmark calls it.
    struct Case {
        let kernel: String
        let types: String
        /// Bytes read and written for an element; columns of a row; floating-point operations for an element.
        let bytes: Int
        let columns: Int
        let flops: Double
        /// Runs the kernel on R rows.
        let run: (_ arrays: Arrays, _ rows: Int) -> Void
    }

    /// Memory that the kernels work on; each array is long enough for the largest size at four bytes an element.
    struct Arrays {
        private let tensors: [Tensor]
        private let halves: [Tensor]

        init(count: Int) {
            tensors = (0..<4).map { _ in Tensor(uninitialized: [count]) }
            // Of the first one a kernel may read as many bytes as there are in all, and no other array.
            halves = (0..<4).map { Tensor(uninitialized: [$0 == 0 ? count : count / 2]) }
        }

        /// Fills the first `count` elements of every array with numbers in -2 ... 2, those of `c` with positive ones (it serves as second moment).
        func fill(_ count: Int) {
            let k = Kernels.active
            for (number, tensor) in tensors.enumerated() {
                var random = RandomStream(key: UInt64(number))
                let period = min(count, 65_521)
                for index in 0..<period {
                    let x = 4 * random.nextUniform() - 2
                    tensor.floats[index] = number == 2 ? abs(x) : x
                }
                for index in stride(from: period, to: count, by: period) {
                    (tensor.floats + index).update(from: tensor.floats, count: min(period, count - index))
                }
                k.convert(half(number), tensor.elements, count)
            }
        }

        private func half(_ number: Int) -> Elements { Elements(halves[number].bytes, .bfloat16) }
        var a: FloatOutput { tensors[0].floats }
        var b: FloatOutput { tensors[1].floats }
        var c: FloatOutput { tensors[2].floats }
        var d: FloatOutput { tensors[3].floats }
        /// The same with their type.
        var ea: Elements { Elements(a) }
        var eb: Elements { Elements(b) }
        var ec: Elements { Elements(c) }
        var ed: Elements { Elements(d) }
        /// The same numbers as bfloat16.
        var ha: Elements { half(0) }
        var hb: Elements { half(1) }
        var hc: Elements { half(2) }
        var hd: Elements { half(3) }
    }

    /// Bytes that a pass moves in cache and in memory.
    private static let cacheBytes = 384 << 10
    private static let memoryBytes = 192 << 20

    /// How long each kernel is timed at each size, in seconds.
    private let seconds: Double

    package init(seconds: Double) {
        self.seconds = seconds
    }

    /// Times all kernels, on this thread.
    package func run() -> KernelBenchmarkResult {
        Kernels.flushDenormals()
        Workers.count = 1
        var peak = ProcessorMeasurement.matrixMultiplyRate(seconds: 0.2)
        let groups = Self.cases(Kernels.active)
        let arrays = Arrays(count: Self.memoryBytes / 4)
        var timed: [(item: Case, isCached: Bool, rows: Int, times: [Double], bandwidth: Double)] = []
        let memory = STREAM(arrayBytes: Self.memoryBytes / 3)
        for isCached in [true, false] {
            for group in groups {
                peak = max(peak, ProcessorMeasurement.matrixMultiplyRate(seconds: 0.1))
                arrays.fill(isCached ? Self.cacheBytes : Self.memoryBytes / 4)
                for item in group {
                    // A kernel that only reads bfloat16 could take more elements than there are.
                    let elements = min((isCached ? Self.cacheBytes : Self.memoryBytes) / item.bytes, Self.memoryBytes / 4)
                    let rows = max(1, elements / item.columns)
                    // In cache one timing covers several passes, so that the clock's own cost does not count.
                    let passes = isCached ? 20 : 1
                    item.run(arrays, rows)
                    var (times, total, bandwidth) = ([Double](), 0.0, 0.0)
                    while times.count < 3 || total < seconds {
                        let time = Self.time { for _ in 0..<passes { item.run(arrays, rows) } }
                        times.append(time / Double(passes))
                        total += time
                        if !isCached { bandwidth = max(bandwidth, memory.bytes / Self.time(memory.add)) }
                    }
                    timed.append((item, isCached, rows, times.sorted(), bandwidth))
                }
            }
        }
        let bandwidth = timed.map(\.bandwidth).max() ?? 0
        let measurements = timed.map { item, isCached, rows, times, beside in
            let (elements, best) = (rows * item.columns, times[0])
            let bytes = elements * item.bytes
            let limit = max(Double(bytes) / (isCached ? bandwidth : beside), Double(elements) * item.flops / peak)
            return KernelMeasurement(
                kernel: item.kernel, types: item.types, residence: isCached ? "cache" : "memory", elements: elements, bytes: bytes, seconds: best,
                secondsMedian: times[times.count / 2], gigabytesPerSecond: Double(bytes) / best / 1e9,
                percentOfBandwidth: 100 * Double(bytes) / best / (isCached ? bandwidth : beside), elementsPerSecond: Double(elements) / best,
                ratio: best / limit)
        }
        return KernelBenchmarkResult(
            processor: ProcessorMeasurement.processorName, instructionSet: Kernels.active.instructionSet,
            bandwidthGigabytesPerSecond: bandwidth / 1e9, peakGflopsPerSecond: peak / 1e9,
            loadAverage: ProcessorMeasurement.loadAverage, kernels: measurements)
    }

    /// c = a + b over arrays beyond any cache (McCalpin's STREAM, 1995): two arrays read and one written.
    private struct STREAM {
        private let (a, b, c): (Tensor, Tensor, Tensor)
        /// Bytes of a pass.
        let bytes: Double

        init(arrayBytes: Int) {
            let count = arrayBytes / 4
            (a, b, c) = (Tensor(repeating: 1.5, [count]), Tensor(repeating: 0.25, [count]), Tensor(repeating: 1, [count]))
            bytes = 3 * Double(arrayBytes)
        }

        func add() { Kernels.active.add(c.floats, a.floats, b.floats, c.count) }
    }

    private static func time(_ body: () -> Void) -> Double {
        let start = ContinuousClock.now
        body()
        return start.duration(to: .now).seconds
    }
}
