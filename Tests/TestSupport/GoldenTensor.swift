// Tensors that other programs have written as JSON.

import Tensors

/// A tensor with its shape, as the generators of golden vectors write it.
public struct GoldenTensor: Decodable, Sendable {
    /// The extents.
    public let shape: [Int]
    /// Row by row.
    public let values: [Double]

    /// The values as float32.
    public var tensor: Tensor { Tensor(values.map { Float($0) }, Shape(shape)) }
}
