// Values of the operations: against plain index arithmetic over many shapes, and against vectors worked out by hand.

import TestSupport
import Tensors
import Testing

/// Position of each axis for a row-major index.
private func coordinates(_ index: Int, _ shape: Shape) -> [Int] {
    var rest = index
    var result = [Int](repeating: 0, count: shape.rank)
    for axis in stride(from: shape.rank - 1, through: 0, by: -1) {
        result[axis] = rest % shape[axis]
        rest /= shape[axis]
    }
    return result
}

private func index(_ coordinates: [Int], _ shape: Shape) -> Int {
    var result = 0
    for axis in 0..<shape.rank { result = result * shape[axis] + coordinates[axis] }
    return result
}

/// The element of `x` that broadcasts to position `at` of `shape`.
private func broadcastElement(_ x: Tensor, _ at: [Int], _ shape: Shape) -> Float {
    let own = (0..<x.shape.rank).map { axis in x.shape[axis] == 1 ? 0 : at[axis + shape.rank - x.shape.rank] }
    return x.array[index(own, x.shape)]
}

@Suite("Values of operations")
struct OperationValueTests {
    @Test("broadcasting equals index arithmetic for every mix of axes")
    func broadcasting() {
        let extents: [[Int]] = [[1, 3], [1, 2], [1, 5]]
        var shapes: [Shape] = [[], [5], [1], [2, 1], [2, 5]]
        for a in extents[0] { for b in extents[1] { for c in extents[2] { shapes.append([a, b, c]) } } }
        for shapeA in shapes {
            for shapeB in shapes {
                let (a, b) = (randomTensor("a", shapeA), randomTensor("b", shapeB, in: 0.5...2))
                let shape = Shape.broadcast(shapeA, shapeB)
                let results = [a + b, a - b, a * b, a / b, minimum(a, b), maximum(a, b)]
                for i in 0..<shape.count {
                    let at = coordinates(i, shape)
                    let (x, y) = (broadcastElement(a, at, shape), broadcastElement(b, at, shape))
                    let expected = [x + y, x - y, x * y, x / y, min(x, y), max(x, y)]
                    for (result, value) in zip(results, expected) { #expect(result.floats[i] == value, "\(shapeA) \(shapeB) at \(at)") }
                }
                #expect(results.allSatisfy { $0.shape == shape })
            }
        }
    }

    @Test("permutations equal index arithmetic")
    func permutations() {
        let x = randomTensor("x", [3, 2, 5, 4])
        for first in 0..<4 {
            for second in 0..<4 where second != first {
                for third in 0..<4 where third != first && third != second {
                    let axes = [first, second, third, 6 - first - second - third]
                    let y = x.permuted(axes)
                    for i in 0..<x.count {
                        let at = coordinates(i, x.shape)
                        #expect(y.floats[index(axes.map { at[$0] }, y.shape)] == x.floats[i])
                    }
                }
            }
        }
        let large = randomTensor("large", [2, 37, 50])
        #expect(large.transposed().transposed().array == large.array)
        #expect(large.transposed().array[50 * 37 + 3 * 37 + 7] == large.array[50 * 37 + 7 * 50 + 3])
    }

    @Test("reductions equal index arithmetic for every set of axes")
    func reductions() {
        let x = randomTensor("x", [3, 2, 4])
        for set in 1..<8 {
            let axes = (0..<3).filter { set >> $0 & 1 == 1 }
            var kept = x.shape
            for axis in axes { kept[axis] = 1 }
            var sums = [Double](repeating: 0, count: kept.count)
            var largest = [Float](repeating: -.infinity, count: kept.count)
            for i in 0..<x.count {
                let at = coordinates(i, x.shape).enumerated().map { axes.contains($0) ? 0 : $1 }
                sums[index(at, kept)] += Double(x.floats[i])
                largest[index(at, kept)] = max(largest[index(at, kept)], x.floats[i])
            }
            let (sum, mean, top) = (x.sum(axes: axes, keepingAxes: true), x.mean(axes: axes), x.maximum(axes: axes))
            #expect(sum.shape == kept && mean.shape.rank == 3 - axes.count)
            #expect((-x).minimum(axes: axes).array == top.array.map { -$0 })
            #expect(top.array == largest)
            for (i, value) in sums.enumerated() {
                #expect(abs(Double(sum.floats[i]) - value) < 1e-5)
                #expect(abs(Double(mean.floats[i]) - value * Double(kept.count) / 24) < 1e-5)
            }
        }
    }

    @Test("slices, joins, rolls and reversals put elements where they belong, int32 included")
    func shaping() {
        let x = Tensor((0..<24).map { Int32($0) }, [2, 3, 4])
        #expect(x.slice([nil, 1..<3, 2..<4]).integerArray == [6, 7, 10, 11, 18, 19, 22, 23])
        #expect(x.selecting(1, axis: 1).integerArray == [4, 5, 6, 7, 16, 17, 18, 19])
        #expect(x.slice(1..<2, axis: 0).integers == x.integers + 12)
        #expect(x.reversed(axis: -1).integerArray.prefix(8) == [3, 2, 1, 0, 7, 6, 5, 4])
        #expect(x.rolled(by: 1).integerArray.prefix(4) == [3, 0, 1, 2])
        #expect(x.rolled(by: -1, axis: 1).integerArray.prefix(12) == [4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3])
        #expect(x.rolled(by: 7, axis: 0).integerArray == x.rolled(by: 1, axis: 0).integerArray)
        let parts = x.split([1, 3], axis: 2)
        #expect(concatenate(parts, axis: 2).integerArray == x.integerArray)
        #expect(stack(x.split(into: 3, axis: 1).map { $0.removingAxis(1) }, axis: 1).integerArray == x.integerArray)
        #expect(stack([Tensor([1, 2] as [Float], [2]), Tensor([3, 4] as [Float], [2])], axis: -1).array == [1, 3, 2, 4])
        #expect(Tensor([1, 2] as [Int32], [2, 1]).broadcast(to: [2, 2, 3]).integerArray == [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2])
        #expect(x.insertingAxis(at: -1).shape == [2, 3, 4, 1] && x.insertingAxis(at: 1).shape == [2, 1, 3, 4])
        let sequences = Tensor((0..<8).map { Int32($0) }, [2, 4])
        #expect(reversedSequences(sequences, lengths: [3, 0]).integerArray == [2, 1, 0, 3, 4, 5, 6, 7])
        #expect(concatenate([Tensor(zeros: [2, 0]), Tensor(zeros: [2, 3])], axis: 1).shape == [2, 3])
    }

    @Test("NTM: shift and sharpening of the paper's example")
    func sharpening() {
        let weights = Tensor([0.1, 0.7, 0.2, 0], [1, 4])
        let shifted = circularConvolution(weights, Tensor([0.1, 0.8, 0.1], [1, 3]))
        for (actual, expected) in zip(shifted.array, [0.15, 0.59, 0.23, 0.03] as [Float]) { #expect(abs(actual - expected) < 1e-6) }
        let sharp = power(shifted, Tensor(3))
        let normalized = sharp / sharp.sum(axis: -1, keepingAxis: true)
        for (actual, expected) in zip(normalized.array, [0.015275, 0.929535, 0.055067, 0.000122] as [Float]) {
            #expect(abs(actual - expected) < 1e-6)
        }
        // Entry 2 of a kernel of 3 moves to the right, entry 0 to the left.
        #expect(circularConvolution(weights, Tensor([0, 0, 1] as [Float], [1, 3])).array == [0, 0.1, 0.7, 0.2])
        #expect(circularConvolution(weights, Tensor([1, 0, 0] as [Float], [1, 3])).array == [0.7, 0.2, 0, 0.1])
    }

    @Test("power of zero is finite, and so are its gradients")
    func powerOfZero() {
        let tape = Tape()
        let base = tape.variable(Tensor([0, 0, 0, 1] as [Float], [4]))
        let exponent = tape.variable(Tensor([1, 3, 20, 50] as [Float], [4]))
        let y = power(base, exponent)
        #expect(y.array.allSatisfy { $0.isFinite } && y.array[0] < 1e-30 && y.array[2] < 1e-30 && y.array[3] == 1)
        tape.backward(from: y.sum())
        let (toBase, toExponent) = (base.node!.gradient!.array, exponent.node!.gradient!.array)
        #expect(abs(toBase[0] - 1) < 1e-6 && toBase[1] < 1e-30 && toBase[2] < 1e-30 && abs(toBase[3] - 50) < 1e-4)
        #expect(toExponent.allSatisfy { abs($0) < 1e-30 })
    }

    @Test("DNC: allocation of the paper's example sums to one less the product of usage")
    func allocation() {
        let (usage, order) = sorted(Tensor([0.2, 0.9, 0.5], [1, 3]))
        #expect(order.integerArray == [0, 2, 1])
        let a = scatterAddAlongLastAxis(Tensor(zeros: [1, 3]), (1 - usage) * usage.cumulativeProduct(exclusive: true), at: order)
        for (actual, expected) in zip(a.array, [0.8, 0.01, 0.1] as [Float]) { #expect(abs(actual - expected) < 1e-6) }
    }

    @Test("sorting is stable, both ways; topK and argmax take the first of equals")
    func sorting() {
        let x = Tensor([2, -1, 2, .infinity, -0.0, 0.0, -.infinity, 2], [1, 8])
        #expect(sorted(x).permutation.integerArray == [6, 1, 4, 5, 0, 2, 7, 3])
        #expect(sorted(x, descending: true).permutation.integerArray == [3, 0, 2, 7, 4, 5, 1, 6])
        #expect(topK(x, 3).indices.integerArray == [3, 0, 2])
        #expect(topK(x, 8).indices.integerArray == sorted(x, descending: true).permutation.integerArray)
        #expect(argmax(Tensor([1, 3, 3, 2, 2, 2] as [Float], [2, 3])).integerArray == [1, 0])
        let large = randomTensor("large", [3, 500])
        #expect(topK(large, 17).values.array == sorted(large, descending: true).values.slice(0..<17, axis: 1).array)
        let plain = (0..<3).flatMap { row in large.array[row * 500..<(row + 1) * 500].sorted() }
        #expect(sorted(large).values.array == plain)
    }

    @Test("masked softmax: excluded elements are zero, and so are fully excluded rows and their gradients")
    func maskedSoftmax() {
        let mask = Tensor([1, 0, 1, 0, 0, 0] as [Int32], [2, 3])
        let values = Tensor([1, 500, 1, 4, 5, 6] as [Float], [2, 3])
        for function in [{ softmax($0, mask: $1) }, { logSoftmax($0, mask: $1) }] as [(Tensor, Tensor) -> Tensor] {
            let tape = Tape()
            let x = tape.variable(values)
            let y = function(x, mask)
            #expect(y.array.suffix(3).allSatisfy { $0 == 0 } && y.array[1] == 0)
            tape.backward(from: y, gradient: randomTensor("g", [2, 3]))
            let gradient = x.node!.gradient!.array
            #expect(gradient[1] == 0 && gradient.suffix(3).allSatisfy { $0 == 0 } && gradient[0] != 0 && gradient.allSatisfy { $0.isFinite })
        }
        #expect(softmax(values, mask: mask).array.prefix(3) == [0.5, 0, 0.5])
        // A mask broadcasts: one row of padding flags for every query.
        let scores = randomTensor("scores", [2, 4, 3])
        let padding = Tensor.lengthMask([1, 3], columns: 3).insertingAxis(at: 1)
        let p = softmax(scores, mask: padding)
        #expect(p.array.prefix(12) == [1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0])
        #expect(p.sum(axis: -1).array.allSatisfy { abs($0 - 1) < 1e-6 })
    }

    @Test("large logits overflow nowhere")
    func stability() {
        let x = Tensor([1000, 0, -1000, -1000] as [Float], [2, 2])
        #expect(softmax(x).array == [1, 0, 0.5, 0.5])
        #expect(logSoftmax(x).array.prefix(2) == [0, -1000])
        #expect(abs(logSumExponential(x).array[1] + 999.3069) < 1e-3)
        let losses = binaryCrossEntropy(logits: Tensor([200, -200, 10] as [Float], [3]), targets: Tensor([0, 0, 1] as [Float], [3])).array
        #expect(losses[0] == 200 && losses[1] == 0 && abs(losses[2] - 4.5398e-5) < 1e-9)
        #expect(logSumExponential(Tensor([-.infinity, -.infinity] as [Float], [1, 2])).array == [-.infinity])
    }

    @Test("zero vectors have finite similarity and gradients")
    func zeroVectors() {
        let tape = Tape()
        let keys = tape.variable(Tensor([0, 0, 1, 2] as [Float], [2, 2]))
        let memory = tape.variable(Tensor([0, 0, 2, 1, 0, 0] as [Float], [3, 2]))
        let y = cosineSimilarity(keys, memory)
        #expect(y.array.prefix(3) == [0, 0, 0] && abs(y.array[4] - 0.8) < 1e-6)
        tape.backward(from: (y + keys.norm().sum() + keys.normalized().sum()).sum())
        #expect(keys.node!.gradient!.array.allSatisfy { $0.isFinite } && memory.node!.gradient!.array.allSatisfy { $0.isFinite })
    }

    @Test("relative shift: the worked example")
    func shift() {
        #expect(relativeShift(Tensor([0, 1, 2, 10, 11, 12] as [Float], [2, 3])).array == [1, 2, 0, 10, 11, 12])
    }

    @Test("masks from comparisons, and choosing by them")
    func masks() {
        let x = Tensor([-1, 0, 2] as [Float], [3])
        #expect((x .> 0).integerArray == [0, 0, 1] && (x .<= 0).integerArray == [1, 1, 0] && (x .> 0).inverted().integerArray == [1, 1, 0])
        #expect((x .< 0).integerArray == [1, 0, 0] && (x .>= 0).integerArray == [0, 1, 1])
        let tokens = Tensor([3, 0, 5] as [Int32], [3])
        #expect((tokens .!= 0).asFloats().array == [1, 0, 1] && (tokens .== 5).integerArray == [0, 0, 1])
        #expect(x.replacing(with: 7, where: x .< 1).array == [7, 7, 2])
        #expect(x.replacing(with: .nan, where: x .> 5).array == [-1, 0, 2])
        #expect(oneHot(Tensor([1, -1] as [Int32], [2]), classes: 3).array == [0, 1, 0, 0, 0, 0])
    }

    @Test("running values")
    func running() {
        let x = Tensor([2, 3, 0, 4] as [Float], [1, 4])
        #expect(x.cumulativeSum().array == [2, 5, 5, 9] && x.cumulativeSum(exclusive: true).array == [0, 2, 5, 5])
        #expect(x.cumulativeProduct().array == [2, 6, 0, 0] && x.cumulativeProduct(exclusive: true).array == [1, 2, 6, 0])
    }
}
