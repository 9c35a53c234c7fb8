// A parameter's operand, brought once into the order that the backend reads: for inference, where weights stay and products repeat.
//
// Legend: I input width, O output width.

import Kernels

/// Packs one constant weight for products with few rows.
///
/// Decoding multiplies a handful of rows by the same weights at every step, and bringing a weight into order takes a large part of such a product.
/// What a product is computed by depends on its shape alone, never on the products before it: packed products have other last bits on some
/// processors, and what ranks read of a text must not show in what they make of it. Costs the weight's memory once more, or once for each order that
/// the backend wants for some number of rows.
public final class PackedOperand {
    /// Rows above which bringing the weight into order does not show.
    private static let fewRows = 512

    private let weight: Tensor
    /// For up to 1, 2, 4, ... `fewRows` rows.
    private var packed = [PackedMatrix?](repeating: nil, count: 10)

    /// - Parameter weight: [O, I], constant from now on.
    init(_ weight: Tensor) { self.weight = weight }

    /// y = x W^T + bias; false where an ordinary product is as good.
    func multiply(into y: Tensor, _ x: Tensor, bias: UnsafePointer<Float>?) -> Bool {
        let rows = x.shape.rows
        guard rows > 0, rows <= Self.fewRows, x.dataType == weight.dataType, !Workers.isWithinPart else { return false }
        let size = Int.bitWidth - (rows - 1).leadingZeroBitCount
        let matrix =
            packed[size]
            ?? PackedMatrix(
                MatrixOperand(weight, .transposed), rows: 1 << size, k: weight.shape[1], n: weight.shape[0], isAdding: false, uses: Int.max,
                sharing: packed.compactMap { $0 })
        packed[size] = matrix
        matrix.multiply(into: MatrixResult(y), MatrixOperand(x), rows: rows, bias: bias)
        return true
    }
}
