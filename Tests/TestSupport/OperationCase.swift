// One table of operations: what a fused operation computes beside its reference in float64, and all that must hold of the two.

import Foundation
import Kernels
import Reference
import Tensors

/// A fused operation at one size, and the reference that says what it computes.
public struct OperationCase: Sendable, CustomStringConvertible {
    /// What a fused operation gives: outputs, and the store of the parameters that were made from inputs of the same names.
    public struct Outcome {
        public let outputs: [Tensor]
        public let store: ParameterStore?

        public init(_ outputs: [Tensor], store: ParameterStore? = nil) { (self.outputs, self.store) = (outputs, store) }
    }

    /// What it is called, with the size.
    public let name: String
    /// Where its values as an independent program computed them are; `nil` where there are none.
    public var golden: String?
    /// float32 inputs by name.
    public let inputs: @Sendable () -> [String: Tensor]
    /// Inputs that no gradient is taken of.
    public var constants: Set<String> = []
    /// Inputs that are given in bfloat16 where the operation takes it; none where it does not.
    public var roundedInputs: Set<String> = []
    /// The worst allowed deviation of outputs and of gradients in float32, and of both in bfloat16.
    public var tolerance = 1e-5
    public var gradientTolerance = 2e-5
    public var roundedTolerance = 0.03
    /// Inputs whose gradient is a sum over rows, of which each thread adds up a part: equal bits are promised for the same number of threads alone.
    public var rowSums: Set<String> = ["bias", "gain", "inputBias", "hiddenBias"]
    /// Elements of an input whose derivatives are checked one by one.
    public var checkedElements = 24
    public let fused: @Sendable (Tape, [String: Tensor]) -> Outcome
    public let reference: @Sendable ([String: ReferenceArray]) -> [ReferenceArray]

    public var description: String { name }

    /// A case without options; they are set afterwards.
    public init(
        _ name: String, golden: String? = nil, _ inputs: @escaping @autoclosure @Sendable () -> [String: Tensor],
        fused: @escaping @Sendable (Tape, [String: Tensor]) -> Outcome, reference: @escaping @Sendable ([String: ReferenceArray]) -> [ReferenceArray]
    ) {
        (self.name, self.golden, self.inputs, self.fused, self.reference) = (name, golden, inputs, fused, reference)
    }

    /// The same for an operation with one output and no store.
    public init(
        _ name: String, golden: String? = nil, rounded: Set<String> = [], constants: Set<String> = [],
        _ inputs: @escaping @autoclosure @Sendable () -> [String: Tensor], fused: @escaping @Sendable ([String: Tensor]) -> Tensor,
        reference: @escaping @Sendable ([String: ReferenceArray]) -> ReferenceArray
    ) {
        self.init(name, golden: golden, inputs(), fused: { Outcome([fused($1)]) }, reference: { [reference($0)] })
        (roundedInputs, self.constants) = (rounded, constants)
    }
}

/// The worst |a - b| / max(|b|, root mean square of b), and where it is. Infinite where the counts differ or a number is none.
public func deviation(_ a: [Double], from b: [Double], scale: Double? = nil) -> (worst: Double, index: Int) {
    guard a.count == b.count else { return (.infinity, -1) }
    let typical = scale ?? (b.reduce(0) { $0 + $1 * $1 } / Double(max(b.count, 1))).squareRoot()
    var result = (worst: 0.0, index: 0)
    for (i, (x, y)) in zip(a, b).enumerated() {
        let error = abs(x - y) / max(abs(y), typical, 1e-12)
        if !(error <= result.worst) { result = (error.isNaN ? .infinity : error, i) }
    }
    return result
}

extension ReferenceArray {
    /// The elements of a tensor of either floating type.
    public init(_ tensor: Tensor) { self.init(tensor.doubles, tensor.shape.extents) }
}

extension Tensor {
    /// The elements of either floating type.
    public var doubles: [Double] { converted(to: .float32).array.map { Double($0) } }
}

extension Shape {
    /// The extents as an array.
    public var extents: [Int] { (0..<rank).map { self[$0] } }
}

extension OperationCase {
    /// Outputs and gradients of the fused operation, for fixed random gradients of all outputs.
    private struct Passes {
        let outputs: [Tensor]
        let seeds: [[Double]]
        let gradients: [String: Tensor]
    }

    private func bothPasses(_ inputs: [String: Tensor]) -> Passes {
        let tape = Tape()
        let variables = inputs.reduce(into: [String: Tensor]()) { $0[$1.key] = constants.contains($1.key) ? $1.value : tape.variable($1.value) }
        let outcome = fused(tape, variables)
        let seeds = outcome.outputs.enumerated().map { index, output in
            output.requiresGradient ? randomTensor("seed \(index)", output.shape).converted(to: output.dataType) : Tensor(zeros: output.shape)
        }
        tape.backward(from: zip(outcome.outputs, seeds).filter { $0.0.requiresGradient }.map { ($0.0, $0.1) })
        outcome.store?.zeroMissingGradients()
        var gradients: [String: Tensor] = [:]
        for (name, variable) in variables where !constants.contains(name) {
            gradients[name] = outcome.store?[name]?.gradient ?? variable.node?.gradient ?? Tensor(zeros: variable.shape)
        }
        return Passes(outputs: outcome.outputs, seeds: seeds.map(\.doubles), gradients: gradients)
    }

    /// Outputs equal the reference's, and gradients the derivatives of the reference: elements one by one, and all of an input along one direction.
    /// - Returns: what does not.
    private func compare(_ inputs: [String: Tensor], forward: Double, backward: Double) -> [String] {
        var findings: [String] = []
        func expect(_ condition: Bool, _ finding: @autoclosure () -> String) { if !condition { findings.append("\(name): \(finding())") } }
        let passes = bothPasses(inputs)
        let arrays = inputs.mapValues { ReferenceArray($0) }
        let expected = reference(arrays)
        expect(passes.outputs.count == expected.count, "\(passes.outputs.count) outputs, expected \(expected.count)")
        for (index, (output, expected)) in zip(passes.outputs, expected).enumerated() {
            let error = deviation(output.doubles, from: expected.values)
            expect(error.worst <= forward, "output \(index) is off by \(error.worst) at \(error.index)")
        }

        func objective(_ inputs: [String: ReferenceArray]) -> Double {
            var sum = 0.0
            for (result, seed) in zip(reference(inputs), passes.seeds) {
                for (value, factor) in zip(result.values, seed) { sum += value * factor }
            }
            return sum
        }
        for (key, gradient) in passes.gradients.sorted(by: { $0.key < $1.key }) {
            let (gradient, start) = (gradient.doubles, arrays[key]!)
            func derivative(_ direction: [Double], _ step: Double) -> Double {
                let values = [step, -step].map { step in
                    objective(arrays.merging([key: ReferenceArray(zip(start.values, direction).map { $0 + step * $1 }, start.shape)]) { $1 })
                }
                return (values[0] - values[1]) / (2 * step)
            }
            guard gradient.count == start.values.count else {
                expect(false, "\(gradient.count) elements of the gradient of \(key), expected \(start.values.count)")
                continue
            }
            let count = gradient.count
            let typical = (gradient.reduce(0) { $0 + $1 * $1 } / Double(max(count, 1))).squareRoot()
            let places = count <= checkedElements ? Array(0..<count) : (0..<checkedElements).map { $0 * count / checkedElements }
            let numeric = places.map { place in derivative((0..<count).map { $0 == place ? 1 : 0 }, 1e-5) }
            let error = deviation(places.map { gradient[$0] }, from: numeric, scale: typical)
            expect(error.worst <= backward, "gradient of \(key) is off by \(error.worst) at \(places[max(error.index, 0)])")

            // What single elements leave out: an error anywhere shows along a random direction.
            let direction = randomTensor("direction of \(key)", Shape(start.shape)).doubles
            let along = zip(gradient, direction).reduce(0) { $0 + $1.0 * $1.1 }
            let exact = derivative(direction, 1e-7)
            let scale = max(typical * Double(count).squareRoot(), 1e-12)
            expect(abs(along - exact) <= backward * scale, "gradient of \(key) along a direction is \(along), expected \(exact)")
        }
        return findings
    }

    /// float32: outputs and gradients are those of the reference. Returns what is not.
    public func deviationsFromReference() -> [String] { compare(inputs(), forward: tolerance, backward: gradientTolerance) }

    /// bfloat16: both are close to those of the reference for the rounded inputs. Returns what is not.
    public func deviationsInLowPrecision() -> [String] {
        var values = inputs()
        for key in roundedInputs { values[key] = values[key]!.converted(to: .bfloat16) }
        return compare(values, forward: roundedTolerance, backward: roundedTolerance)
    }

    /// Two and three threads give the bits that one gives, and sums over rows the same but for rounding. Returns what is not so.
    public func deviationsOfThreads() -> [String] {
        let values = inputs()
        func results(_ count: Int) -> [String: [Double]] {
            let passes = withThreads(count) { bothPasses(values) }
            let outputs = passes.outputs.enumerated().map { ("output \($0.offset)", $0.element.doubles) }
            return passes.gradients.mapValues(\.doubles).merging(outputs) { $1 }
        }
        let alone = results(1)
        return [2, 3].flatMap { count in
            let several = results(count)
            return alone.keys.sorted().compactMap { key in
                let error = deviation(several[key]!, from: alone[key]!).worst
                return error <= (rowSums.contains(key) ? 1e-5 : 0) ? nil : "\(name): \(key) is off by \(error) with \(count) threads"
            }
        }
    }
}
