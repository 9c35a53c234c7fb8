// Gradients of the tape against central differences.
//
// Everything is float32, so the check is made as sharp as float32 allows: the scalar that is differentiated is summed in float64, steps are
// scaled to the value and are what the perturbed float32 value really moved by, and two step sizes are combined (Richardson) so that the
// step can be large enough to drown rounding while the truncation error is of fourth order.

import Tensors

/// How far the gradients of one input or parameter are from central differences.
public struct GradientDeviation: CustomStringConvertible, Sendable {
    /// `input 0`, or a parameter's name.
    public let name: String
    /// The worst of |analytic - numeric| / max(|analytic|, |numeric|, root mean square of the numeric gradient, floor).
    public let worst: Double
    /// |analytic - numeric| / max(|numeric|, floor), Euclidean norms over the elements checked.
    public let ofNorm: Double
    /// Where the worst element is, and both values there.
    public let index: Int
    public let analytic: Double
    public let numeric: Double
    /// How many elements were checked.
    public let count: Int

    public var description: String {
        "\(name): worst \(worst) at \(index) (tape \(analytic), differences \(numeric)), \(ofNorm) of the norm, \(count) elements"
    }
}

/// What a gradient check found.
public struct GradientReport: CustomStringConvertible, Sendable {
    /// One for each input and each parameter.
    public let deviations: [GradientDeviation]

    /// True when every element and every norm is within its tolerance.
    public func passes(worst: Double = 1e-2, ofNorm: Double = 1e-3) -> Bool {
        deviations.allSatisfy { $0.worst <= worst && $0.ofNorm <= ofNorm }
    }

    public var description: String { deviations.map(\.description).joined(separator: "\n") }
}

/// Compares the tape's gradients of sum(function(inputs) * r), r fixed and random, with central differences.
///
/// - Parameters:
///   - inputs: float32 tensors to differentiate; they are given to `function` on the tape, or as constants for the differences.
///   - store: parameters that `function` takes from its tape with `Tape.parameter`; their values are changed and put back. It must be
///     allocated with gradients.
///   - names: the parameters to check; `nil` is all.
///   - step: the larger of the two relative steps; the absolute step is `step` * max(|x|, 1/2).
///   - elementLimit: at most so many elements of each tensor are checked, evenly spread.
///   - seed: of r.
///   - function: the computation; called twice for each element checked and step, so keep it small. It must be a function of its arguments and
///     the store alone (make a `DropoutContext` inside), and smooth within a step of the inputs.
public func checkGradients(
    inputs: [Tensor] = [], store: ParameterStore? = nil, names: [String]? = nil, step: Float = 0.02, elementLimit: Int = 96, seed: UInt64 = 1,
    _ function: (Tape, [Tensor]) -> Tensor
) -> GradientReport {
    store?.clearGradients()
    let tape = Tape()
    let variables = inputs.map { tape.variable($0) }
    let output = function(tape, variables)
    var random = RandomStream(seed: seed, name: "gradient check")
    let weights = (0..<output.count).map { _ in random.nextNormal() }
    tape.backward(from: output, gradient: Tensor(weights, output.shape))
    store?.zeroMissingGradients()

    func value(_ inputs: [Tensor]) -> Double {
        let output = function(Tape(), inputs)
        var sum = 0.0
        for i in 0..<output.count { sum += Double(output.floats[i]) * Double(weights[i]) }
        return sum
    }

    var deviations: [GradientDeviation] = []
    for (number, variable) in variables.enumerated() {
        let gradient = variable.node?.gradient.map(\.array) ?? [Float](repeating: 0, count: variable.count)
        var copies = inputs.map { $0.copied() }
        let target = copies[number].copied()
        copies[number] = target
        deviations.append(deviation("input \(number)", gradient, target.floats, elementLimit, step) { value(copies) })
    }
    if let store {
        // The differences run the function without backward passes, so the gradients stay as they are.
        for parameter in store.parameters where names?.contains(parameter.name) ?? true {
            let gradient = parameter.gradient.array
            deviations.append(deviation(parameter.name, gradient, parameter.value.floats, elementLimit, step) { value(inputs) })
        }
    }
    return GradientReport(deviations: deviations)
}

private func deviation(
    _ name: String, _ gradient: [Float], _ values: UnsafeMutablePointer<Float>, _ elementLimit: Int, _ step: Float, _ evaluate: () -> Double
) -> GradientDeviation {
    let count = gradient.count
    let checked = count <= elementLimit ? Array(0..<count) : (0..<elementLimit).map { $0 * count / elementLimit }
    var numeric: [Double] = []
    for index in checked {
        let original = values[index]
        func difference(_ size: Float) -> Double {
            let (high, low) = (original + size, original - size)
            values[index] = high
            let above = evaluate()
            values[index] = low
            let below = evaluate()
            values[index] = original
            return (above - below) / (Double(high) - Double(low))
        }
        let size = step * max(abs(original), 0.5)
        numeric.append((4 * difference(size / 2) - difference(size)) / 3)
    }
    var (squares, squaredError) = (0.0, 0.0)
    for (i, index) in checked.enumerated() {
        squares += numeric[i] * numeric[i]
        let error = Double(gradient[index]) - numeric[i]
        squaredError += error * error
    }
    let floor = 1e-5
    let typical = max((squares / Double(max(checked.count, 1))).squareRoot(), floor)
    var (worst, place) = (0.0, 0)
    for (i, index) in checked.enumerated() {
        let analytic = Double(gradient[index])
        let error = abs(analytic - numeric[i]) / max(abs(analytic), abs(numeric[i]), typical)
        if error > worst || error.isNaN {
            (worst, place) = (error.isNaN ? .infinity : error, i)
            if error.isNaN { break }
        }
    }
    return GradientDeviation(
        name: name, worst: worst, ofNorm: squaredError.isNaN ? .infinity : squaredError.squareRoot() / max(squares.squareRoot(), floor),
        index: checked.isEmpty ? 0 : checked[place], analytic: checked.isEmpty ? 0 : Double(gradient[checked[place]]),
        numeric: checked.isEmpty ? 0 : numeric[place], count: checked.count)
}

/// A tensor of normal random numbers that depend on the name alone.
public func randomTensor(_ name: String, _ shape: Shape, deviation: Float = 1, mean: Float = 0) -> Tensor {
    var random = RandomStream(seed: 7, name: name)
    return Tensor((0..<shape.count).map { _ in mean + deviation * random.nextNormal() }, shape)
}

/// A tensor of random numbers, uniform within a range, that depend on the name alone.
public func randomTensor(_ name: String, _ shape: Shape, in range: ClosedRange<Float>) -> Tensor {
    var random = RandomStream(seed: 7, name: name)
    return Tensor((0..<shape.count).map { _ in range.lowerBound + (range.upperBound - range.lowerBound) * random.nextUniform() }, shape)
}

/// A random tensor whose elements are at least `gap` apart from each other: for operations with kinks where elements meet.
public func distinctTensor(_ name: String, _ shape: Shape, gap: Float = 0.1) -> Tensor {
    var random = RandomStream(seed: 7, name: name)
    var order = Array(0..<shape.count)
    order.shuffle(using: &random)
    return Tensor(order.map { (Float($0) - Float(shape.count) / 2 + 0.25) * gap }, shape)
}
