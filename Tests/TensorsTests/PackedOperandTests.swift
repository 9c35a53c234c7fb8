// Products with a constant weight, whatever products there were before.

import Tensors
import Testing
import TestSupport

@Suite struct PackedOperandTests {
    @Test("a product's bits depend on its rows and the weight, not on the products before it", arguments: [DataType.float32, .bfloat16])
    func history(type: DataType) throws {
        let store = ParameterStore()
        let weight = store.add("weight", [72, 40], .normal(standardDeviation: 1))
        store.allocate(seed: 3, gradients: false, activations: type)
        var random = RandomStream(seed: 5, name: "inputs")
        let inputs = [128, 1, 96, 100, 5, 512, 513, 33].map { rows in
            Tensor((0..<rows * 40).map { _ in random.nextNormal() }, [rows, 40]).converted(to: type)
        }
        func bits(_ x: Tensor, _ packed: PackedOperand?) -> [UInt32] {
            linear(x, weight: weight.operand, outputType: .float32, packed: packed).array.map(\.bitPattern)
        }
        func fresh() throws -> PackedOperand {
            store.refreshOperands()
            return try #require(weight.packedOperand)
        }
        let first = try inputs.map { try bits($0, fresh()) }
        for order in [[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0], [4, 4, 4, 4, 4, 0, 3, 3, 2, 1, 7, 5, 6]] {
            let packed = try fresh()
            for index in order + order { #expect(bits(inputs[index], packed) == first[index], "\(inputs[index].shape[0]) rows, in the order \(order)") }
        }
        // What is packed is the product, but for rounding.
        for (x, found) in zip(inputs, first) {
            let plain = linear(x, weight: weight.operand, outputType: .float32)
            let largest = plain.array.reduce(0) { max($0, abs($1)) }
            #expect(zip(found, plain.array).allSatisfy { abs(Float(bitPattern: $0) - $1) < 1e-5 * largest })
        }
    }
}
