// Rows of a tensor by their numbers.
//
// Legend: N parts along the first axis, n parts that are chosen.

import Diagnostics

extension Tensor {
    /// Parts along the first axis, off the tape: [N, ...] to [n, ...], of any type. An index may occur more than once, or not at all.
    public func rows(_ indices: [Int]) -> Tensor {
        let result = Tensor(uninitialized: Shape([indices.count] + shape.array.dropFirst()), dataType)
        copyRows(indices, elements: result.count / max(indices.count, 1)) { place, row, bytes in
            (result.bytes + place * bytes).copyMemory(from: self.bytes + row * bytes, byteCount: bytes)
        }
        return result
    }

    /// Overwrites the parts `indices` along the first axis by those of `source`, which has n of them, each of as many elements and of the same type.
    public func storeRows(_ indices: [Int], from source: Tensor) {
        require(source.dataType == dataType, "storeRows: \(source.dataType) into \(dataType)")
        let elements = count / max(shape[0], 1)
        require(elements * indices.count == source.count, "storeRows: \(indices.count) rows of \(source.shape) into \(shape)")
        copyRows(indices, elements: elements) { place, row, bytes in
            (self.bytes + row * bytes).copyMemory(from: source.bytes + place * bytes, byteCount: bytes)
        }
    }

    private func copyRows(_ indices: [Int], elements: Int, _ copy: (_ place: Int, _ row: Int, _ bytes: Int) -> Void) {
        for index in indices { require(index >= 0 && index < shape[0], "row \(index) of a tensor \(shape)") }
        let bytes = elements * dataType.byteCount
        parallelRows(indices.count, columns: elements) { first, count in
            for place in first..<first + count { copy(place, indices[place], bytes) }
        }
    }
}
