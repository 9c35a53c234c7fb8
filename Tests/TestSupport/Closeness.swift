// What "close" means in tests of numbers.

/// How far a result may lie from what is expected.
///
/// With a result a and the expected value e, given in float64 so that it is nearer to the truth than float32 can say, the error of one element is
///
/// - `ulps`: |a - e| / ulp(float32(e)): in steps of float32 at the size of e. 0.5 is correct rounding.
/// - `relative`: |a - e| / max(|e|, floor): in parts of e, or of `floor` where e is smaller, as it is where terms cancel.
///
/// Both are of one element and say nothing of the others: a bound holds for the worst element, however large its neighbours are. It is not a distance
/// of arrays (no norm is taken, so a wrong small row cannot hide behind a large one), not symmetric (e is taken for the truth), not transitive, and
/// with a floor not scale-invariant: choose the floor by the size of the terms that were added up. NaN is close to NaN alone, an infinity to the same
/// infinity alone.
public enum Tolerance: Sendable {
    case ulps(Double)
    case relative(Double, floor: Double)

    /// The largest error that passes.
    public var bound: Double {
        switch self {
        case .ulps(let bound), .relative(let bound, _): bound
        }
    }

    /// The error of one element.
    public func error(_ actual: Float, _ expected: Double) -> Double {
        let rounded = Float(expected)
        if actual.isNaN || rounded.isNaN { return actual.isNaN && rounded.isNaN ? 0 : .infinity }
        if actual.isInfinite || rounded.isInfinite { return actual == rounded ? 0 : .infinity }
        switch self {
        case .ulps: return abs(Double(actual) - expected) / Double(rounded.ulp)
        case .relative(_, let floor): return abs(Double(actual) - expected) / max(abs(expected), floor)
        }
    }

    /// What is wrong with results, in one line that names the worst element, its index and its error; nil when all are close. Lengths come first.
    public func problem(_ actual: [Float], _ expected: [Double]) -> String? {
        if actual.count != expected.count { return "\(actual.count) elements, expected \(expected.count)" }
        var (worst, index) = (0.0, -1)
        for (i, (a, e)) in zip(actual, expected).enumerated() {
            let error = error(a, e)
            if error > worst { (worst, index) = (error, i) }
        }
        if worst <= bound { return nil }
        let unit = if case .ulps = self { "ulp" } else { "relative" }
        return "element \(index) of \(actual.count) is \(actual[index]), expected \(expected[index]): error \(worst) \(unit), bound \(bound)"
    }
}
