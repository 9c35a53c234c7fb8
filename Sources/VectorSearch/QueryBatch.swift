// Queries as a search works on them: checked, padded, with their lengths.
//
// Legend: Q queries of D numbers.

import Diagnostics
import Kernels
import Tensors

/// What matrix products read keys as. The rows that are found are the same: products only choose which rows are scored exactly.
public enum ProductPrecision: String, Sendable, Codable, CaseIterable {
    /// The keys themselves.
    case float32
    /// Keys rounded to bfloat16, half the memory traffic, and twice the speed where the processor multiplies bfloat16; where it does not, keys themselves.
    case bfloat16

    /// Whether products on this machine would read rounded keys.
    package var isRounded: Bool { inUse == .bfloat16 }

    /// What this machine's products read.
    var inUse: ProductPrecision { self == .bfloat16 && OneDNN.hasNativeBFloat16 ? .bfloat16 : .float32 }
}

/// Q queries.
struct QueryBatch: @unchecked Sendable {
    let count: Int
    let dimension: Int
    /// [Q + 64, D], zeros behind the queries.
    let values: Tensor
    /// The same in bfloat16, where products want it.
    let rough: Tensor?
    /// Of each query its squared length, its length rounded up, and the length of what rounding to bfloat16 takes away.
    let squares: [Double]
    let lengths: [Float]
    let errors: [Float]

    /// Queries in a product are so many at most.
    static let largestGroup = 256

    /// How many rows of queries a product gets for so many queries: few sizes, since a product is compiled for each, and never more than twice as many.
    static func padded(_ count: Int) -> Int {
        if count <= 16 {
            var rows = 1
            while rows < count { rows *= 2 }
            return rows
        }
        return count <= 64 ? (count + 15) & ~15 : (count + 63) & ~63
    }

    /// - Parameter queries: [Q, D], float32.
    /// - Throws: `UserError` (bad data) for a query that is not finite or of another dimension.
    init(_ queries: Tensor, dimension: Int, precision: ProductPrecision) throws {
        require(queries.shape.rank == 2 && queries.dataType == .float32, "queries are a float32 matrix, not \(queries.dataType) \(queries.shape)")
        (count, self.dimension) = (queries.shape[0], dimension)
        guard queries.shape[1] == dimension || count == 0 else {
            throw UserError(
                .badData, "queries have \(queries.shape[1]) numbers, and keys have \(dimension)",
                advice: "ask by vectors of the model that has made the keys")
        }
        squares = try VectorRules.squaredLengths(
            queries.elements, count: count, dimension: dimension, what: "query", name: { "\($0)" })
        // A product reads up to 63 rows more than there are queries.
        values = Tensor(zeros: [count + 64, dimension])
        if count > 0 { values.floats.update(from: queries.floats, count: count * dimension) }
        lengths = squares.map { Float($0.squareRoot()).nextUp }
        if precision == .bfloat16 {
            let rough = Tensor(uninitialized: values.shape, .bfloat16)
            var errors = [Float](repeating: 0, count: count)
            let kernels = Kernels.active
            kernels.convert(rough.elements, values.elements, values.count)
            for query in 0..<count {
                let lost = kernels.exactSquaredDistance(values.floats + query * dimension, rough.elements + query * dimension, dimension)
                errors[query] = Float(lost.squareRoot()).nextUp
            }
            (self.rough, self.errors) = (rough, errors)
        } else {
            (rough, errors) = (nil, [Float](repeating: 0, count: count))
        }
    }
}
