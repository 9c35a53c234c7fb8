// How the values of a gradient are distributed.

import Foundation
import Tensors

/// The distribution of one parameter's gradient at one step.
public struct GradientHistogram: Sendable {
    /// The parameter's name.
    public var name: String
    public var count = 0
    public var minimum = 0.0
    public var maximum = 0.0
    public var sum = 0.0
    public var sumOfSquares = 0.0
    /// Buckets from the lowest: the largest value of each, and how many values it has. Four to an octave.
    public var buckets: [(limit: Double, count: Int)] = []

    /// - Parameters:
    ///   - name: the parameter's name.
    ///   - values: finite values.
    ///   - zeros: how many zeros there are besides.
    ///   - scale: what all values are multiplied by, positive.
    public init(name: String, values: some Collection<Float>, zeros: Int = 0, scale: Double = 1) {
        self.name = name
        // A bucket is named by the upper eleven bits of its values: sign, exponent, two bits of the fraction.
        var counts = [Int](repeating: 0, count: 1 << Self.bits)
        var (least, most) = zeros > 0 ? (Float(0), Float(0)) : (Float.infinity, -Float.infinity)
        for value in values {
            counts[Int((value + 0).bitPattern >> (32 - Self.bits))] += 1
            (least, most) = (min(least, value), max(most, value))
            let wide = Double(value)
            sum += wide
            sumOfSquares += wide * wide
        }
        counts[0] += zeros
        count = values.count + zeros
        guard count > 0 else { return }
        (minimum, maximum) = (Double(least) * scale, Double(most) * scale)
        (sum, sumOfSquares) = (sum * scale, sumOfSquares * scale * scale)
        let half = 1 << (Self.bits - 1)
        // Negative numbers of greater patterns lie lower; the upper end of such a bucket is its smallest pattern.
        let ordered = (half..<2 * half).reversed().map { ($0, Self.value(pattern: $0)) } + (0..<half).map { ($0, Self.value(pattern: $0 + 1)) }
        var isBehindGap = false
        for (index, limit) in ordered where limit.isFinite || counts[index] > 0 {
            // A run of empty buckets becomes one.
            if counts[index] == 0, buckets.isEmpty || isBehindGap {
                if !buckets.isEmpty { buckets[buckets.count - 1].limit = limit * scale }
                continue
            }
            isBehindGap = counts[index] == 0
            buckets.append(((limit.isFinite ? limit : Double(Float.greatestFiniteMagnitude)) * scale, counts[index]))
        }
        if isBehindGap { buckets.removeLast() }
    }

    private static let bits = 11

    private static func value(pattern: Int) -> Double { Double(Float(bitPattern: UInt32(pattern) << (32 - UInt32(bits)))) }
}

extension GradientHistogram {
    /// The gradients of all parameters, as they stand after a step's sums over lanes and ranks. Reads every gradient once.
    /// - Parameter scale: what the optimizer multiplies gradients by before it clips.
    static func all(of store: ParameterStore, scale: Double) -> [GradientHistogram] {
        store.parameters.map { parameter in
            if parameter.gradientForm == .rows, let rows = parameter.rowGradient {
                return GradientHistogram(name: parameter.name, values: rows.values, zeros: parameter.shape.count - rows.values.count, scale: scale)
            }
            let values = UnsafeBufferPointer(rebasing: store.gradientMemory[parameter.offset..<parameter.offset + parameter.shape.count])
            return GradientHistogram(name: parameter.name, values: values, scale: scale)
        }
    }
}
