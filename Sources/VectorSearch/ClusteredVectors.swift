// Vectors that are made up, for measurements: like those of models they lie in clusters of very different size.
//
// Legend: n rows of D numbers, K clusters.

import Kernels
import Tensors

/// Rows around random centres: row i depends on the seed and i alone.
public struct ClusteredVectors: Sendable {
    /// D and K.
    public let dimension: Int
    public let clusters: Int
    /// The standard deviation of a number around its centre; centres' own is 1.
    public let spread: Float
    public let seed: UInt64

    public init(dimension: Int, clusters: Int, spread: Float = 0.5, seed: UInt64) {
        (self.dimension, self.clusters, self.spread, self.seed) = (dimension, clusters, spread, seed)
    }

    /// Rows `range`: [n, D], float32.
    ///
    /// - Complexity: D normal numbers a row, on all threads.
    public func rows(_ range: Range<Int>) -> Tensor {
        let centres = Tensor(uninitialized: [clusters, dimension])
        fill(centres, key: 1, deviation: 1)
        let rows = Tensor(uninitialized: [range.count, dimension])
        fill(rows, first: range.lowerBound, key: 2, deviation: spread)
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

    private func fill(_ rows: Tensor, first: Int = 0, key: UInt64, deviation: Float) {
        Workers.parallel(rows.shape[0], minimum: 256) { part in
            for place in part {
                var random = RandomStream(key: mixKeys(seed, key, UInt64(first + place)))
                for column in 0..<dimension { rows.floats[place * dimension + column] = deviation * random.nextNormal() }
            }
        }
    }
}
