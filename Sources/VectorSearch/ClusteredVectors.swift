// Vectors that are made up, for measurements: like those of models they lie in clusters of very different size.
//
// Legend: n rows of D numbers, K clusters.

import Kernels
import Tensors

/// Rows around random centres: row i depends on the seed and i alone.
public struct ClusteredVectors {
    /// D and K.
    public let dimension: Int
    public let clusters: Int
    /// The standard deviation of a number around its centre; centres' own is 1.
    public let spread: Float
    public let seed: UInt64
    /// [K, D].
    private let centres: Tensor

    /// - Parameters:
    ///   - dimension: D.
    ///   - clusters: K.
    public init(dimension: Int, clusters: Int, spread: Float = 0.5, seed: UInt64) {
        (self.dimension, self.clusters, self.spread, self.seed) = (dimension, clusters, spread, seed)
        centres = Tensor(uninitialized: [clusters, dimension])
        Self.fill(centres, seed: seed, key: 1, deviation: 1)
    }

    /// Rows `range`: [n, D], float32.
    ///
    /// - Complexity: D normal numbers a row, on all threads.
    public func rows(_ range: Range<Int>) -> Tensor {
        let rows = Tensor(uninitialized: [range.count, dimension])
        Self.fill(rows, first: range.lowerBound, seed: seed, key: 2, deviation: spread)
        Workers.parallel(range.count, minimum: 256) { part in
            for place in part {
                var random = RandomStream(key: mixKeys(seed, 3, UInt64(range.lowerBound + place)))
                // Squared, so that some clusters are many times as large as others.
                let draw = random.nextUniform()
                let cluster = min(clusters - 1, Int(draw * draw * Float(clusters)))
                Kernels.active.addScaled(rows.floats + place * dimension, centres.floats + cluster * dimension, scale: 1, dimension)
            }
        }
        return rows
    }

    private static func fill(_ rows: Tensor, first: Int = 0, seed: UInt64, key: UInt64, deviation: Float) {
        let dimension = rows.shape[1]
        Workers.parallel(rows.shape[0], minimum: 256) { part in
            for place in part {
                var random = RandomStream(key: mixKeys(seed, key, UInt64(first + place)))
                for column in 0..<dimension { rows.floats[place * dimension + column] = deviation * random.nextNormal() }
            }
        }
    }
}
