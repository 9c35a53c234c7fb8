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
                let (a, b) = (randomTensor("a", shapeA), randomTensor("b", shapeB))
                let shape = Shape.broadcast(shapeA, shapeB)
                let results = [a + b, a - b, a * b]
                for i in 0..<shape.count {
                    let at = coordinates(i, shape)
                    let (x, y) = (broadcastElement(a, at, shape), broadcastElement(b, at, shape))
                    let expected = [x + y, x - y, x * y]
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
        let exchanged = large.permuted(0, 2, 1)
        #expect(exchanged.permuted(0, 2, 1).array == large.array)
        let (there, here) = (50 * 37 + 3 * 37 + 7, 50 * 37 + 7 * 50 + 3)
        #expect(exchanged.array[there] == large.array[here])
    }

    @Test("slices and joins put elements where they belong, int32 included")
    func shaping() {
        let x = Tensor((0..<24).map { Int32($0) }, [2, 3, 4])
        #expect(x.slice(1..<3, axis: 1).slice(2..<4, axis: 2).integerArray == [6, 7, 10, 11, 18, 19, 22, 23])
        #expect(x.selecting(1, axis: 1).integerArray == [4, 5, 6, 7, 16, 17, 18, 19])
        #expect(x.slice(1..<2, axis: 0).integers == x.integers + 12)
        let parts = x.split([1, 3], axis: 2)
        #expect(concatenate(parts, axis: 2).integerArray == x.integerArray)
        #expect(concatenate([Tensor(zeros: [2, 0]), Tensor(zeros: [2, 3])], axis: 1).shape == [2, 3])
    }

    @Test("large logits overflow nowhere")
    func stability() {
        #expect(softmax(Tensor([1000, 0, -1000, -1000] as [Float], [2, 2])).array == [1, 0, 0.5, 0.5])
        let losses = binaryCrossEntropy(logits: Tensor([200, -200, 10] as [Float], [3]), targets: Tensor([0, 0, 1] as [Float], [3])).array
        #expect(losses[0] == 200 && losses[1] == 0 && abs(losses[2] - 4.5398e-5) < 1e-9)
    }

    @Test("one-hot vectors; an index below 0 gives zeros")
    func oneHotVectors() { #expect(oneHot(Tensor([1, -1] as [Int32], [2]), classes: 3).array == [0, 1, 0, 0, 0, 0]) }
}
