// A parameter's operand, brought once into the order that the backend reads: for inference, where weights stay and products repeat.
//
// Legend: I input width, O output width.

import Kernels

/// Watches the products of one constant weight, and packs it when products with few rows repeat.
///
/// Decoding multiplies a handful of rows by the same weights at every step, and bringing a weight into order takes a large part of such a product.
/// Costs the weight's memory once more.
public final class PackedOperand {
    /// Rows above which bringing the weight into order does not show.
    private static let fewRows = 512
    /// Products of one number of rows that are seen before the weight is packed.
    private static let repeats = 3

    private let weight: Tensor
    private var packed: PackedMatrix?
    private var lastRows = 0
    private var seen = 0

    /// - Parameter weight: [O, I], constant from now on.
    init(_ weight: Tensor) { self.weight = weight }

    /// y = x W^T + bias where the weight is packed for it; false where an ordinary product is as good.
    func multiply(into y: Tensor, _ x: Tensor, bias: UnsafePointer<Float>?) -> Bool {
        let rows = x.shape.rows
        guard rows > 0, rows <= Self.fewRows, x.dataType == weight.dataType, !Workers.isWithinPart else { return false }
        if packed == nil {
            seen = rows == lastRows ? seen + 1 : 1
            lastRows = rows
            guard seen > Self.repeats else { return false }
            packed = PackedMatrix(
                MatrixOperand(weight, .transposed), rows: rows, k: weight.shape[1], n: weight.shape[0], isAdding: false, uses: Int.max)
        }
        packed?.multiply(into: MatrixResult(y), MatrixOperand(x), rows: rows, bias: bias)
        return true
    }
}
