// What a processor reaches where nothing but it is in the way: the yardsticks of benchmarks and of `mneme doctor`.

import Foundation
import Kernels
import Tensors

/// Measured limits of the processor, and facts that the system tells about it.
package enum ProcessorMeasurement {
    /// Floating-point operations a second of a matrix product, N x N by N x N, with the threads that are set: the best call of the best backend.
    ///
    /// - Parameters:
    ///   - dataType: of the operands and the result; sums are float32.
    ///   - size: N.
    ///   - seconds: how long to measure; at least three calls are made after the first, with each backend.
    package static func matrixMultiplyRate(_ dataType: DataType = .float32, size: Int = 1536, seconds: Double = 0.5) -> Double {
        let product = Product(dataType, size: size)
        let times = product.backends.map { backend in bestTime(seconds: seconds / Double(product.backends.count)) { product.run(backend) } }
        return product.flops / (times.min() ?? .infinity)
    }

    /// The same of all calls from a common start on, by the backend that is the faster one here: what this process gets beside others.
    ///
    /// - Parameter together: returns when all processes are about to begin.
    package static func sustainedMatrixMultiplyRate(
        _ dataType: DataType = .float32, size: Int = 1024, seconds: Double = 0.5, together: () throws -> Void
    ) rethrows -> Double {
        let product = Product(dataType, size: size)
        let backend = product.backends.map { backend in (backend, bestTime(seconds: 0) { product.run(backend) }) }.min { $0.1 < $1.1 }?.0 ?? .openBLAS
        return try product.flops / meanTime(seconds: seconds, together) { product.run(backend) }
    }

    /// C = A B^T of square matrices.
    private struct Product {
        let a: Tensor, b: Tensor, c: Tensor
        let size: Int
        let backends: [MatrixBackend]

        init(_ dataType: DataType, size: Int) {
            (a, b) = (ProcessorMeasurement.random([size, size], dataType, key: 1), ProcessorMeasurement.random([size, size], dataType, key: 2))
            c = Tensor(uninitialized: [size, size], dataType)
            self.size = size
            backends = MatrixBackend.allCases.filter { $0.isAvailable && ($0 == .oneDNN || dataType == .float32 || !OneDNN.hasNativeBFloat16) }
        }

        var flops: Double { 2 * Double(size) * Double(size) * Double(size) }

        func run(_ backend: MatrixBackend) {
            multiplyMatrices(using: backend, into: MatrixResult(c), MatrixOperand(a), MatrixOperand(b, .transposed), m: size, n: size, k: size)
        }
    }

    /// Bytes a second that the threads move between memory and processor in c = a + b over arrays beyond any cache (STREAM's add: McCalpin 1995):
    /// two arrays read and one written, the best of several passes.
    ///
    /// - Parameters:
    ///   - bytes: the size of each array.
    ///   - seconds: how long to measure.
    package static func memoryBandwidth(bytes: Int = 128 << 20, seconds: Double = 0.5) -> Double {
        let pass = additionPass(bytes)
        return 3 * Double(bytes) / bestTime(seconds: seconds, pass)
    }

    /// The same of all passes from a common start on.
    package static func sustainedMemoryBandwidth(bytes: Int = 128 << 20, seconds: Double = 0.5, together: () throws -> Void) rethrows -> Double {
        let pass = additionPass(bytes)
        return try 3 * Double(bytes) / meanTime(seconds: seconds, together, pass)
    }

    private static func additionPass(_ bytes: Int) -> () -> Void {
        let count = bytes / MemoryLayout<Float>.stride
        let (a, b, c) = (Tensor(repeating: 1.5, [count]), Tensor(repeating: 0.25, [count]), Tensor(repeating: 1, [count]))
        return {
            Workers.parallel(count, minimum: 1 << 16) { part in
                Kernels.active.add(c.floats + part.lowerBound, a.floats + part.lowerBound, b.floats + part.lowerBound, part.count)
            }
        }
    }

    /// The most memory that this process has held at once, in bytes; 0 where the system does not tell.
    package static var peakResidentBytes: Int {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") })
        else { return 0 }
        return (line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
    }

    /// Lets `peakResidentBytes` count from now on, where the system can do that.
    package static func resetPeakResidentBytes() { try? "5".write(toFile: "/proc/self/clear_refs", atomically: false, encoding: .utf8) }

    /// Pages that the system had to bring for this process so far.
    package static var pageFaults: Int {
        var usage = rusage()
        return getrusage(RUSAGE_SELF.rawValue, &usage) == 0 ? usage.ru_minflt + usage.ru_majflt : 0
    }

    /// The processor's name as the system gives it.
    package static var processorName: String {
        let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("model name") || $0.hasPrefix("Model") }
        return line?.split(separator: ":", maxSplits: 1).last?.trimmingCharacters(in: .whitespaces) ?? "unknown processor"
    }

    /// The load average of the last minute: above the number of ranks times threads, other work disturbs a measurement.
    package static var loadAverage: Double {
        var load = 0.0
        return getloadavg(&load, 1) == 1 ? load : 0
    }

    /// A tensor of numbers drawn uniformly from -0.5 ..< 0.5.
    package static func random(_ shape: Shape, _ type: DataType, key: UInt64) -> Tensor {
        var random = RandomStream(key: key)
        let values = Tensor(uninitialized: shape)
        for index in 0..<values.count { values.floats[index] = random.nextUniform() - 0.5 }
        guard type == .bfloat16 else { return values }
        let rounded = Tensor(uninitialized: shape, .bfloat16)
        Kernels.active.convert(rounded.elements, values.elements, values.count)
        return rounded
    }

    /// The mean of the calls of `body` that end within so many seconds from a common start, at least two, after a first one, in seconds.
    private static func meanTime(seconds: Double, _ together: () throws -> Void, _ body: () -> Void) rethrows -> Double {
        body()
        try together()
        let start = ContinuousClock.now
        var calls = 0
        while true {
            body()
            calls += 1
            let time = start.duration(to: .now).seconds
            if calls >= 2, time >= seconds { return time / Double(calls) }
        }
    }

    /// The shortest of at least three calls of `body` after a first one, in seconds.
    private static func bestTime(seconds: Double, _ body: () -> Void) -> Double {
        body()
        var (best, total, calls) = (Double.infinity, 0.0, 0)
        while calls < 3 || total < seconds {
            let start = ContinuousClock.now
            body()
            let time = start.duration(to: .now).seconds
            best = min(best, time)
            total += time
            calls += 1
        }
        return best
    }
}
