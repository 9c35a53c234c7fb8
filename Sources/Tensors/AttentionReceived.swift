// How much attention keys receive: what a memory goes by that keeps what is used.
//
// Legend: B sequences, T queries a sequence, S keys a sequence, H heads, K head size; R queries and C keys of a block.

import Kernels

extension AttentionComputation {
    /// The weights that each key receives, summed over the queries, the mean of the heads, before dropout: float32 [B, S].
    ///
    /// Scores are computed again, in the blocks of the forward pass.
    ///
    /// - Parameter logSums: the log-sum-exp of each query's scores, [B, H, T].
    /// - Complexity: 2 B T S H K flops, and as many with distances. No bit of the result depends on the number of threads.
    func received(_ logSums: Tensor) -> Tensor {
        let (rows, columns) = (min(Self.queryBlock, queries), min(Self.keyBlock, keys))
        let shares = Tensor(zeros: [batch, heads, keys])
        let memory = scratch(2 * rows * columns + rows * headSize + keys * headSize + rows + positionScratch(rows, columns))
        Workers.forEach(tasks: batch * heads) { task in
            let (b, h) = (task / heads, task % heads)
            let weights = memory.floats + Workers.index * memory.shape[1]
            // The kernel gives the gradient of a block of scores besides; that of zeros is zeros.
            let gradient = weights + rows * columns
            let queryRows = gradient + rows * columns
            let keyRows = queryRows + rows * headSize
            let inner = keyRows + keys * headSize
            let work = positions.map { _ in PositionMemory(self, inner + rows, rows, columns) }
            if let work { packPositions(h, work) }
            pack(key, b, row: 0, h, count: realKeys(b), into: keyRows)
            kernels.fill(gradient, 0, rows * columns)
            kernels.fill(inner, 0, rows)
            for first in stride(from: 0, to: queries, by: rows) {
                let rows = min(rows, queries - first)
                pack(query, b, row: first, h, count: rows, into: queryRows)
                if let work { addBiases(h, rows: rows, queryRows, work) }
                forEachBlock(b, first: first, rows: rows) { block in
                    multiplyMatrices(
                        into: MatrixResult(weights, leading: block.columns), packed(queryRows), packed(keyRows, row: block.key, .transposed), m: rows,
                        n: block.columns, k: headSize)
                    if let work { addPositions(block, weights, work) }
                    hideKeys(block, b, weights)
                    kernels.softmaxBlockGradient(
                        Elements(gradient), probability: Elements(weights), outStride: block.columns, outputGradient: gradient, scores: weights,
                        stride: block.columns, minus: logSums.floats + task * queries + first, inner: inner, scale: scale,
                        firstVisible: block.firstVisible, rows: rows, columns: block.columns)
                    kernels.accumulateColumnSums(
                        shares.floats + task * keys + block.key, Elements(weights), rows: rows, columns: block.columns)
                }
            }
        }
        let result = Tensor(zeros: [batch, keys])
        for task in 0..<batch * heads {
            kernels.addScaled(result.floats + task / heads * keys, shares.floats + task * keys, scale: 1 / Float(heads), keys)
        }
        return result
    }
}
