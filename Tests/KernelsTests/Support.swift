// What the kernel tests share: sizes, seeded numbers, and comparison that names the worst element.

import Foundation
import Kernels
import TestSupport
import Testing

/// Sizes around every vector width, and some beyond.
let sizes = [0, 1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 255, 1000]

/// The instruction sets that this processor runs.
let instructionSets = Kernels.available.map(\.instructionSet)

/// The kernel set of a name.
func kernelSet(_ name: String) throws -> any KernelSet {
    try #require(Kernels.available.first { $0.instructionSet == name })
}

/// SplitMix64, so that tests repeat.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// n numbers, uniform in the range.
    mutating func floats(_ n: Int, _ range: ClosedRange<Float> = -3...3) -> [Float] {
        (0..<n).map { _ in Float.random(in: range, using: &self) }
    }
}

/// Expects results to be close to float64 ones, as `Tolerance` says.
func expectClose(
    _ actual: [Float], _ expected: [Double], _ tolerance: Tolerance, _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
    if let problem = tolerance.problem(actual, expected) { Issue.record("\(what): \(problem)", sourceLocation: sourceLocation) }
}

/// Scratch memory of exactly the documented size, full of NaN, between two runs of canaries.
final class GuardedMemory {
    private let memory: UnsafeMutableBufferPointer<UInt32>
    private let count: Int
    private static let guards = 64
    private static let canary: UInt32 = 0x7FC0_CA9A

    init(_ count: Int) {
        self.count = count
        memory = .allocate(capacity: count + 2 * Self.guards)
        memory.initialize(repeating: Self.canary)
        for i in 0..<count { pointer[i] = .nan }
    }

    deinit { memory.deallocate() }

    /// The first of `count` elements.
    var pointer: FloatOutput {
        UnsafeMutableRawPointer(memory.baseAddress.unsafelyUnwrapped + Self.guards).assumingMemoryBound(to: Float.self)
    }

    /// Records an issue where a canary is gone.
    func expectIntact(_ what: String, sourceLocation: SourceLocation = #_sourceLocation) {
        for i in 0..<Self.guards {
            #expect(memory[Self.guards - 1 - i] == Self.canary, "\(what) wrote \(i + 1) before its scratch", sourceLocation: sourceLocation)
            #expect(
                memory[Self.guards + count + i] == Self.canary, "\(what) wrote at element \(count + i) of a scratch of \(count)",
                sourceLocation: sourceLocation)
        }
    }
}

/// The bit patterns of the elements, to compare bit for bit.
func patterns(_ values: [Float]) -> [UInt32] {
    values.map(\.bitPattern)
}

/// The central difference of a function at x, step scaled to x.
func slope(at x: Double, _ function: (Double) -> Double) -> Double {
    let h = 1e-5 * max(1, abs(x))
    return (function(x + h) - function(x - h)) / (2 * h)
}

extension UnaryFunction {
    /// The function in float64, from the C library.
    func reference(_ x: Double) -> Double {
        switch self {
        case .exponential: exp(x)
        case .logarithm: log(x)
        case .hyperbolicTangent: tanh(x)
        case .sigmoid: 1 / (1 + exp(-x))
        case .rectifier: x < 0 ? 0 : x
        case .softplus: max(x, 0) + log1p(exp(-abs(x)))
        case .squareRoot: x.squareRoot()
        case .reciprocal: 1 / x
        case .square: x * x
        case .absolute: abs(x)
        case .negate: -x
        case .geluTanh: x * (1 / (1 + exp(-2 * (2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))))
        case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
        case .sine: sin(x)
        case .cosine: cos(x)
        case .softsign: x.isInfinite ? (x < 0 ? -1 : 1) : x / (1 + abs(x))
        }
    }

    /// Arguments where the function is smooth, for gradients.
    var smoothRange: ClosedRange<Float> {
        switch self {
        case .logarithm, .squareRoot, .reciprocal, .rectifier, .absolute, .softsign: 0.1...4
        default: -4...4
        }
    }

    /// Arguments of interest for accuracy, and the bound in ulps.
    var accuracy: (range: ClosedRange<Float>, ulps: Double) {
        switch self {
        case .exponential: (-104...88.8, 2)
        case .logarithm: (1e-38...3e38, 2)
        case .hyperbolicTangent: (-12...12, 4)
        case .sigmoid: (-100...100, 4)
        case .softplus: (-85...85, 4)
        case .geluTanh: (-3...20, 16)
        case .gelu: (-12...20, 8)
        case .sine, .cosine: (-3...3, 2)
        case .softsign: (-1000...1000, 1.5)
        case .rectifier, .squareRoot, .reciprocal, .square, .absolute, .negate: (-1000...1000, 0.5)
        }
    }
}

// MARK: bfloat16

/// The bfloat16 pattern nearest to x, ties to even, straight from the definition: the two neighbours are compared in float64.
func bfloat16(_ x: Float) -> UInt16 {
    let upper = UInt16(truncatingIfNeeded: x.bitPattern >> 16)
    if x.isNaN { return upper | 0x40 }
    let below = Float(bitPattern: UInt32(upper) << 16)
    if below == x { return upper }
    let next = upper &+ 1
    let above = Float(bitPattern: UInt32(next) << 16)
    // Infinity stands where the next power of two would.
    let aboveValue = above.isInfinite ? (x < 0 ? -0x1p128 : 0x1p128) : Double(above)
    let (low, high) = (abs(Double(x) - Double(below)), abs(aboveValue - Double(x)))
    if low == high { return upper & 1 == 0 ? upper : next }
    return low < high ? upper : next
}

/// The numbers as bfloat16 patterns.
func bfloat16(_ values: [Float]) -> [UInt16] { values.map { bfloat16($0) } }

/// The bfloat16 patterns as numbers.
func widened(_ patterns: [UInt16]) -> [Float] { patterns.map { Float(bitPattern: UInt32($0) << 16) } }

/// Compares bfloat16 results with float64 ones: each must be within `steps` bfloat16 numbers of the correctly rounded one, or within `floor` of the
/// expected value (where terms cancel). NaN must meet NaN.
func expectBFloat16(
    _ actual: [UInt16], _ expected: [Double], steps: Int = 1, floor: Double = 0, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard actual.count == expected.count else {
        Issue.record("\(what): \(actual.count) elements, expected \(expected.count)", sourceLocation: sourceLocation)
        return
    }
    func order(_ pattern: UInt16) -> Int { pattern & 0x8000 == 0 ? Int(pattern) : -Int(pattern & 0x7FFF) }
    for (index, (a, e)) in zip(actual, expected).enumerated() {
        let value = Float(bitPattern: UInt32(a) << 16)
        if value.isNaN && e.isNaN { continue }
        let isNear = abs(order(a) - order(bfloat16(Float(e)))) <= steps || abs(Double(value) - e) <= floor
        if value.isNaN != e.isNaN || !isNear {
            Issue.record("\(what): element \(index) of \(actual.count) is \(value), expected \(e)", sourceLocation: sourceLocation)
            return
        }
    }
}
