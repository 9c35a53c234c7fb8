// Attention of a few queries over many keys without a gradient: a step of decoding.
//
// Legend: B sequences, T queries a sequence, H heads, K head size.

import Kernels

extension AttentionComputation {
    /// Queries of a sequence up to which a product with a matrix of keys has too few rows to be worth its packing.
    private static let fewQueries = 8

    /// True for the shape of a decoding step: few queries, each sees all real keys, no dropout.
    var isDecodingStep: Bool {
        queries <= Self.fewQueries && dropout == nil && (!mask.causal || queries == 1) && mask.firstKeys == nil && mask.segmentWindow == nil
            && positions == nil
    }

    /// Each query by itself. Returns [B, T, D].
    func decodingStep() -> Tensor {
        let width = heads * headSize
        let output = Tensor(uninitialized: [batch, queries, width], dataType)
        let memory = scratch(keys + headSize)
        // A head's work is its keys and values; a few hundred thousand multiplications are worth a thread.
        let work = max(1, 2 * keys * headSize * queries)
        Workers.parallel(batch * heads, minimum: max(1, (1 << 18) / work)) { tasks in
            let scratch = memory.floats + Workers.index * memory.shape[1]
            for task in tasks {
                let (b, h) = (task / heads, task % heads)
                let keyPlace = key.place(sequence: b, row: 0, head: h, headSize: headSize)
                let valuePlace = value.place(sequence: b, row: 0, head: h, headSize: headSize)
                for t in 0..<queries {
                    let place = query.place(sequence: b, row: t, head: h, headSize: headSize)
                    let target = (b * queries + t) * width + h * headSize
                    kernels.attendRow(
                        output.elements + target, query: query.tensor.elements + place, keys: key.tensor.elements + keyPlace, keyStride: key.stride,
                        values: value.tensor.elements + valuePlace, valueStride: value.stride, scale: scale, scratch: scratch,
                        keyCount: realKeys(b), headSize: headSize)
                }
            }
        }
        return output
    }
}
