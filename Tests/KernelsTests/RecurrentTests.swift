import Foundation
import Kernels
import Testing

/// The gates of recurrent cells on each instruction set against float64.
@Suite struct RecurrentKernelTests {
    private func values(_ count: Int, _ key: Double) -> [Float] {
        (0..<count).map { (index: Int) -> Float in
            let x = Double(index)
            return Float(sin(x * 1.37 + key) * 2.1 + cos(x * key))
        }
    }
    private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

    @Test(arguments: instructionSets, [1, 3, 16, 17, 64, 131])
    func lstmCell(_ set: String, _ n: Int) throws {
        let kernels = try kernelSet(set)
        let (sums, previous) = (values(4 * n, 0.3), values(n, 1.1))
        var (gates, cell, hidden) = (sums, [Float](repeating: 0, count: n), [Float](repeating: 0, count: n))
        kernels.lstmCell(&hidden, cell: &cell, gates: &gates, previousCell: previous, n)
        var (expectedGates, expectedCell, expectedHidden) = ([Double](repeating: 0, count: 4 * n), [Double](), [Double]())
        for j in 0..<n {
            let s = (0..<4).map { Double(sums[$0 * n + j]) }
            let (i, f, g, o) = (sigmoid(s[0]), sigmoid(s[1]), tanh(s[2]), sigmoid(s[3]))
            for (gate, value) in [i, f, g, o].enumerated() { expectedGates[gate * n + j] = value }
            let c = f * Double(previous[j]) + i * g
            expectedCell.append(c)
            expectedHidden.append(o * tanh(c))
        }
        expectClose(gates, expectedGates, .relative(2e-6, floor: 0.1), "gates")
        expectClose(cell, expectedCell, .relative(4e-6, floor: 0.1), "cell")
        expectClose(hidden, expectedHidden, .relative(4e-6, floor: 0.1), "hidden")
        var (gates16, cell16, hidden16) = (sums, [Float](repeating: 0, count: n), [UInt16](repeating: 0, count: n))
        kernels.lstmCell(&hidden16, cell: &cell16, gates: &gates16, previousCell: previous, n)
        #expect(gates16 == gates && cell16 == cell && hidden16 == bfloat16(hidden))

        let (outputGradient, hiddenGradient, given) = (values(n, 2.2), values(n, 0.7), values(n, 1.9))
        var (gateGradient, cellGradient) = ([Float](repeating: 0, count: 4 * n), given)
        kernels.lstmCellGradient(
            &gateGradient, cellGradient: &cellGradient, gates: gates, cell: cell, previousCell: previous, outputGradient: outputGradient,
            hiddenGradient: hiddenGradient, n)
        var (expectedGradient, expectedCellGradient) = ([Double](repeating: 0, count: 4 * n), [Double]())
        for j in 0..<n {
            let (i, f, g, o) = (expectedGates[j], expectedGates[n + j], expectedGates[2 * n + j], expectedGates[3 * n + j])
            let (h, t) = (Double(outputGradient[j]) + Double(hiddenGradient[j]), tanh(expectedCell[j]))
            let c = Double(given[j]) + h * o * (1 - t * t)
            expectedGradient[j] = c * g * i * (1 - i)
            expectedGradient[n + j] = c * Double(previous[j]) * f * (1 - f)
            expectedGradient[2 * n + j] = c * i * (1 - g * g)
            expectedGradient[3 * n + j] = h * t * o * (1 - o)
            expectedCellGradient.append(c * f)
        }
        expectClose(gateGradient, expectedGradient, .relative(2e-5, floor: 0.1), "gate gradient")
        expectClose(cellGradient, expectedCellGradient, .relative(2e-5, floor: 0.1), "cell gradient")
        let rounded = bfloat16(outputGradient)
        var (low, lowCell, same, sameCell) = ([UInt16](repeating: 0, count: 4 * n), given, [Float](repeating: 0, count: 4 * n), given)
        kernels.lstmCellGradient(
            &low, cellGradient: &lowCell, gates: gates, cell: cell, previousCell: previous, outputGradient: rounded, hiddenGradient: hiddenGradient,
            n)
        kernels.lstmCellGradient(
            &same, cellGradient: &sameCell, gates: gates, cell: cell, previousCell: previous, outputGradient: widened(rounded),
            hiddenGradient: hiddenGradient, n)
        #expect(low == bfloat16(same) && lowCell == sameCell)
    }

    @Test(arguments: instructionSets, [1, 3, 16, 17, 64, 131])
    func gruCell(_ set: String, _ n: Int) throws {
        let kernels = try kernelSet(set)
        let (sums, products, previous) = (values(3 * n, 0.3), values(3 * n, 0.9), values(n, 1.1))
        var (gates, state) = (sums, [Float](repeating: 0, count: n))
        kernels.gruCell(&state, gates: &gates, products: products, previous: previous, n)
        var (expectedGates, expectedState) = ([Double](repeating: 0, count: 3 * n), [Double]())
        for j in 0..<n {
            let r = sigmoid(Double(sums[j]) + Double(products[j]))
            let z = sigmoid(Double(sums[n + j]) + Double(products[n + j]))
            let candidate = tanh(Double(sums[2 * n + j]) + r * Double(products[2 * n + j]))
            for (gate, value) in [r, z, candidate].enumerated() { expectedGates[gate * n + j] = value }
            expectedState.append((1 - z) * candidate + z * Double(previous[j]))
        }
        expectClose(gates, expectedGates, .relative(8e-6, floor: 0.1), "gates")
        expectClose(state, expectedState, .relative(8e-6, floor: 0.1), "state")

        let (outputGradient, given) = (values(n, 2.2), values(n, 1.9))
        let candidateProduct = Array(products[(2 * n)...])
        var (inputGradient, productGradient, stateGradient) = ([Float](repeating: 0, count: 3 * n), [Float](repeating: 0, count: 3 * n), given)
        kernels.gruCellGradient(
            &inputGradient, productGradient: &productGradient, stateGradient: &stateGradient, gates: gates, candidateProduct: candidateProduct,
            previous: previous, outputGradient: outputGradient, n)
        var (expectedInput, expectedProduct) = ([Double](repeating: 0, count: 3 * n), [Double](repeating: 0, count: 3 * n))
        var expectedGiven: [Double] = []
        for j in 0..<n {
            let (r, z, candidate) = (expectedGates[j], expectedGates[n + j], expectedGates[2 * n + j])
            let h = Double(given[j]) + Double(outputGradient[j])
            let sum = h * (1 - z) * (1 - candidate * candidate)
            expectedInput[j] = sum * Double(candidateProduct[j]) * r * (1 - r)
            expectedInput[n + j] = h * (Double(previous[j]) - candidate) * z * (1 - z)
            expectedInput[2 * n + j] = sum
            expectedProduct[j] = expectedInput[j]
            expectedProduct[n + j] = expectedInput[n + j]
            expectedProduct[2 * n + j] = sum * r
            expectedGiven.append(h * z)
        }
        expectClose(inputGradient, expectedInput, .relative(5e-5, floor: 0.1), "input gradient")
        expectClose(productGradient, expectedProduct, .relative(5e-5, floor: 0.1), "product gradient")
        expectClose(stateGradient, expectedGiven, .relative(5e-5, floor: 0.1), "state gradient")
        let rounded = bfloat16(outputGradient)
        var (low, lowProduct, lowState) = ([UInt16](repeating: 0, count: 3 * n), [UInt16](repeating: 0, count: 3 * n), given)
        kernels.gruCellGradient(
            &low, productGradient: &lowProduct, stateGradient: &lowState, gates: gates, candidateProduct: candidateProduct, previous: previous,
            outputGradient: rounded, n)
        stateGradient = given
        kernels.gruCellGradient(
            &inputGradient, productGradient: &productGradient, stateGradient: &stateGradient, gates: gates, candidateProduct: candidateProduct,
            previous: previous, outputGradient: widened(rounded), n)
        #expect(low == bfloat16(inputGradient) && lowProduct == bfloat16(productGradient) && lowState == stateGradient)
    }
}
