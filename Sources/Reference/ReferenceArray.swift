// The arrays that the references compute with.
//
// The references say what Mneme's fused operations compute: one small function for each, in the order of the papers' equations, in float64 and
// without gradients. Read them to learn a model; tests hold the fused operations to them. Nothing here is fast, and nothing that trains calls it.

import Diagnostics
import Foundation

/// An n-dimensional array of float64, row-major. Axes count from the last one when negative. A number is an array without axes.
public struct ReferenceArray: Sendable, ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral {
    /// The extents.
    public let shape: [Int]
    /// The elements, row-major.
    public var values: [Double]

    /// - Parameter values: as many as the extents' product.
    public init(_ values: [Double], _ shape: [Int]) {
        require(values.count == shape.reduce(1, *), "\(values.count) values for shape \(shape)")
        (self.values, self.shape) = (values, shape)
    }

    /// One value everywhere.
    public init(repeating value: Double, _ shape: [Int]) { self.init([Double](repeating: value, count: shape.reduce(1, *)), shape) }

    /// A number.
    public init(_ value: Double) { self.init([value], []) }
    public init(floatLiteral value: Double) { self.init(value) }
    public init(integerLiteral value: Int) { self.init(Double(value)) }

    /// The only element.
    public var number: Double {
        require(values.count == 1, "a number was expected, not shape \(shape)")
        return values[0]
    }
}

// MARK: element by element

/// Combines two arrays whose shapes are equal or stretch to each other: missing leading axes and extents of 1 repeat.
public func combine(_ a: ReferenceArray, _ b: ReferenceArray, _ function: (Double, Double) -> Double) -> ReferenceArray {
    let rank = max(a.shape.count, b.shape.count)
    let (left, right) = (Array(repeating: 1, count: rank - a.shape.count) + a.shape, Array(repeating: 1, count: rank - b.shape.count) + b.shape)
    let shape = zip(left, right).map { $0 == 1 ? $1 : $0 }
    require(zip(right, shape).allSatisfy { $0 == 1 || $0 == $1 }, "shapes \(a.shape) and \(b.shape) do not fit")
    var result = ReferenceArray(repeating: 0, shape)
    for index in result.values.indices {
        var (rest, i, j, stepI, stepJ) = (index, 0, 0, 1, 1)
        for axis in shape.indices.reversed() {
            let place = rest % shape[axis]
            rest /= shape[axis]
            if left[axis] > 1 { i += place * stepI }
            if right[axis] > 1 { j += place * stepJ }
            (stepI, stepJ) = (stepI * left[axis], stepJ * right[axis])
        }
        result.values[index] = function(a.values[i], b.values[j])
    }
    return result
}

extension ReferenceArray {
    public static func + (a: Self, b: Self) -> Self { combine(a, b, +) }
    public static func - (a: Self, b: Self) -> Self { combine(a, b, -) }
    public static func * (a: Self, b: Self) -> Self { combine(a, b, *) }
    public static func / (a: Self, b: Self) -> Self { combine(a, b, /) }
    public static prefix func - (a: Self) -> Self { 0 - a }

    /// A function of each element.
    public func map(_ function: (Double) -> Double) -> Self { Self(values.map(function), shape) }
    /// Elements below the range become its lower bound, those above it its upper one.
    public func clamped(to range: ClosedRange<Double>) -> Self { map { min(max($0, range.lowerBound), range.upperBound) } }
}

public func exp(_ x: ReferenceArray) -> ReferenceArray { x.map { Foundation.exp($0) } }
public func log(_ x: ReferenceArray) -> ReferenceArray { x.map { Foundation.log($0) } }
public func tanh(_ x: ReferenceArray) -> ReferenceArray { x.map { Foundation.tanh($0) } }
public func squareRoot(_ x: ReferenceArray) -> ReferenceArray { x.map { $0.squareRoot() } }
public func sigmoid(_ x: ReferenceArray) -> ReferenceArray { x.map { 1 / (1 + Foundation.exp(-$0)) } }
/// log(1 + exp(x)).
public func softplus(_ x: ReferenceArray) -> ReferenceArray { x.map { max($0, 0) + log1p(Foundation.exp(-abs($0))) } }
/// max(0, x).
public func rectifier(_ x: ReferenceArray) -> ReferenceArray { x.map { max(0, $0) } }
/// GELU in its tanh approximation (Hendrycks and Gimpel 2016).
public func geluTanh(_ x: ReferenceArray) -> ReferenceArray {
    x.map { 0.5 * $0 * (1 + Foundation.tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }
}
public func power(_ x: ReferenceArray, _ exponent: ReferenceArray) -> ReferenceArray { combine(x, exponent) { pow($0, $1) } }

// MARK: along one axis

extension ReferenceArray {
    /// The axis counted from the first, with the products of the extents before and behind it.
    private func parts(_ axis: Int) -> (axis: Int, outer: Int, inner: Int) {
        let axis = axis < 0 ? axis + shape.count : axis
        require(shape.indices.contains(axis), "axis \(axis) of shape \(shape)")
        return (axis, shape[..<axis].reduce(1, *), shape[(axis + 1)...].reduce(1, *))
    }

    /// A number of all elements along an axis, which stays with extent 1.
    private func reduced(_ axis: Int, _ function: ([Double]) -> Double) -> Self {
        let (axis, outer, inner) = parts(axis)
        let extent = shape[axis]
        let result = (0..<outer * inner).map { i in
            function((0..<extent).map { values[(i / inner * extent + $0) * inner + i % inner] })
        }
        return Self(result, shape[..<axis] + [1] + shape[(axis + 1)...])
    }

    /// The sum along an axis, which stays with extent 1.
    public func sum(axis: Int = -1) -> Self { reduced(axis) { $0.reduce(0, +) } }
    /// The mean likewise.
    public func mean(axis: Int = -1) -> Self { reduced(axis) { $0.reduce(0, +) / Double($0.count) } }
    /// The largest element likewise.
    public func largest(axis: Int = -1) -> Self { reduced(axis) { $0.max() ?? -.infinity } }
    /// The sum of all elements.
    public func total() -> Self { Self(values.reduce(0, +)) }

    /// Part of an axis.
    public func slice(_ range: Range<Int>, axis: Int = -1) -> Self {
        let (axis, outer, inner) = parts(axis)
        require(range.lowerBound >= 0 && range.upperBound <= shape[axis], "elements \(range) along axis \(axis) of \(shape)")
        let result = (0..<outer).flatMap { (o: Int) -> ArraySlice<Double> in
            let start = o * shape[axis]
            return values[(start + range.lowerBound) * inner..<(start + range.upperBound) * inner]
        }
        return Self(result, shape[..<axis] + [range.count] + shape[(axis + 1)...])
    }

    /// Equal parts of an axis.
    public func split(_ count: Int, axis: Int = -1) -> [Self] {
        let extent = shape[parts(axis).axis] / count
        return (0..<count).map { slice($0 * extent..<($0 + 1) * extent, axis: axis) }
    }

    /// Entry i of the first axis: a row of a matrix, an element of a vector.
    public subscript(_ i: Int) -> Self { slice(i..<i + 1, axis: 0).reshaped(Array(shape.dropFirst())) }
    /// The entries of the first axis.
    public var rows: [Self] { (0..<(shape.first ?? 0)).map { self[$0] } }

    /// Arrays one behind the other along an axis.
    public static func concatenated(_ arrays: [Self], axis: Int = -1) -> Self {
        let (axis, outer, _) = arrays[0].parts(axis)
        let result = (0..<outer).flatMap { o in
            arrays.flatMap { array in
                let length = array.values.count / outer
                return array.values[o * length..<(o + 1) * length]
            }
        }
        return Self(result, arrays[0].shape[..<axis] + [arrays.reduce(0) { $0 + $1.shape[axis] }] + arrays[0].shape[(axis + 1)...])
    }

    /// Arrays of one shape as the entries of a new first axis.
    public static func stacked(_ arrays: [Self]) -> Self { Self(arrays.flatMap(\.values), [arrays.count] + (arrays.first?.shape ?? [])) }

    /// The same elements under another shape.
    public func reshaped(_ shape: [Int]) -> Self { Self(values, shape) }
    /// All elements in one row.
    public var flattened: Self { reshaped([values.count]) }
}

// MARK: vectors and matrices

extension ReferenceArray {
    /// A matrix with rows and columns exchanged.
    public var transposed: Self {
        require(shape.count == 2, "a matrix was expected, not shape \(shape)")
        return Self((0..<values.count).map { values[$0 % shape[0] * shape[1] + $0 / shape[0]] }, [shape[1], shape[0]])
    }

    /// A matrix [M, K] times a matrix [K, N] or a vector [K].
    public func times(_ other: Self) -> Self {
        let columns = other.shape.count == 1 ? 1 : other.shape[1]
        require(shape.count == 2 && shape[1] == other.shape[0], "shapes \(shape) and \(other.shape) do not fit")
        var result = Self(repeating: 0, [shape[0]] + other.shape.dropFirst())
        for m in 0..<shape[0] {
            for k in 0..<shape[1] {
                for n in 0..<columns { result.values[m * columns + n] += values[m * shape[1] + k] * other.values[k * columns + n] }
            }
        }
        return result
    }

    /// The sum of the products of two vectors' elements.
    public func dot(_ other: Self) -> Self { (self * other).total() }
    /// The matrix of all products of two vectors' elements.
    public func outer(_ other: Self) -> Self { reshaped([values.count, 1]) * other }
}

/// exp(x) / sum of exp(x) along the last axis.
public func softmax(_ x: ReferenceArray) -> ReferenceArray {
    let e = exp(x - x.largest())
    return e / e.sum()
}

/// log of the sum of exp(x) along the last axis, which stays with extent 1.
public func logSumExponential(_ x: ReferenceArray) -> ReferenceArray { log(exp(x - x.largest()).sum()) + x.largest() }
