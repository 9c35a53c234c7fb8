// Attention that sees how far apart a query and a key are, one operation on the tape.
//
// Legend: B sequences, T queries a sequence, S keys a sequence, M = S - T keys of the past, H heads, K head size, D = H K width; R queries and C keys
// of a block.

import Diagnostics
import Kernels

/// Attention with Transformer-XL's relative scores, for each head
///
///     score(i, j) = q_i . k_j + q_i . r_(i + M - j) + u . k_j + v . r_(i + M - j)
///
/// which are scaled by 1 / sqrt(K), masked, and go through a softmax over the keys; the result is the mean of the values by these weights, heads
/// concatenated. The keys are those of a past of M positions and then those of the segment itself: query i stands at key i + M and sees none behind
/// it.
///
/// Works in the blocks of `attention`. The products of a block's queries with the R + C - 1 distances that occur in it are computed at once, and row
/// i of them is added to the scores shifted by i: no more than a block exists at a time.
///
/// - Parameters:
///   - query: D columns of [B, T, ...], float32 or bfloat16.
///   - key: D columns of [B, S, ...], of the same type, S at least T.
///   - value: D columns of [B, S, ...], of the same type; key and value may be parts of one packed tensor.
///   - distances: r, [S, D] of the same type: row c is that of distance S - 1 - c, so that the last row is of distance 0.
///   - contentBias: u, float32 [D], the heads one after the other.
///   - positionBias: v, float32 [D].
///   - heads: H, a divisor of D.
///   - firstKeys: the first key that each query sees, [B, T]; `nil` when that is key 0 for all. A query that sees no key gives zeros.
///   - segmentWindow: how many keys of the segment each query sees, the latest ones, its own among them; `nil` for all. The past is seen whole.
///   - dropoutRate: on the probabilities, during training.
///   - dropout: where the masks come from; `nil` in evaluation.
///   - onReceived: gets the weights that each key receives, summed over the queries, the mean of the heads, before dropout: float32 [B, S], off the
///     tape. They are computed apart, for 4 B T S D flops.
/// - Returns: [B, T, D] of the query's type. Scores, sums and the gathering of products are float32 for both types.
/// - Complexity: 2 B T S D flops forward more than `attention`, 6 backward; the backward pass holds another B S D numbers. No bit of the result or of
///   a gradient depends on the number of threads.
/// - Source: Dai et al., "Transformer-XL: Attentive language models beyond a fixed-length context", 2019, section 3.3 and appendix B.
public func relativeAttention(
    query: AttentionOperand, key: AttentionOperand, value: AttentionOperand, distances: Tensor, contentBias: Tensor, positionBias: Tensor,
    heads: Int, firstKeys: [Int]? = nil, segmentWindow: Int? = nil, dropoutRate: Float = 0, dropout: DropoutContext? = nil,
    onReceived: ((Tensor) -> Void)? = nil
) -> Tensor {
    let positions = RelativePositions(distances: distances, contentBias: contentBias, positionBias: positionBias)
    let inputs = [query.tensor, key.tensor, value.tensor, distances, contentBias, positionBias]
    let computation = AttentionComputation(
        query: query, key: key, value: value, width: contentBias.count, heads: heads,
        mask: AttentionMask(causal: true, firstKeys: firstKeys, segmentWindow: segmentWindow), scale: nil,
        dropout: dropoutRate > 0 ? dropout.map { AttentionDropout(rate: DropoutRate(dropoutRate), keys: $0.nextSiteKeys()) } : nil,
        positions: positions)
    let (output, logSums) = computation.forward(keepsLogSums: onReceived != nil || inputs.contains { $0.requiresGradient })
    guard let logSums else { return output }
    onReceived?(computation.received(logSums))
    return Operation("relative attention").record(output, from: inputs) { gradient in
        computation.backward(gradient, output: output, logSums: logSums)
    }
}

/// What scores have beside the products of queries and keys.
struct RelativePositions {
    /// r, [S, D] of the operands' type; row c is that of distance S - 1 - c.
    let distances: Tensor
    /// u and v, float32 [D].
    let contentBias: Tensor
    let positionBias: Tensor

    func check(_ attention: AttentionComputation, width: Int) {
        require(
            distances.shape == [attention.keys, width] && distances.dataType == attention.dataType,
            "relative attention: distances \(distances.shape) for \(attention.keys) keys of \(width)")
        require(
            contentBias.count == width && positionBias.count == width, "relative attention: biases \(contentBias.shape) and \(positionBias.shape)")
    }
}

/// The memory that distances take in the work of one head.
struct PositionMemory {
    /// q + v of the block's queries, [R, K] in the operands' type.
    let queryRows: UnsafeMutablePointer<Float>
    /// r of one head, [S, K] in the operands' type.
    let distanceRows: UnsafeMutablePointer<Float>
    /// Products of queries and distances, [R, R + C - 1], or their gradient in the operands' type.
    let products: UnsafeMutablePointer<Float>
    /// The gradients of `queryRows` and `distanceRows`.
    let queryGradient: UnsafeMutablePointer<Float>
    let distanceGradient: UnsafeMutablePointer<Float>

    init(_ attention: AttentionComputation, _ start: UnsafeMutablePointer<Float>, _ rows: Int, _ columns: Int) {
        queryRows = start
        queryGradient = queryRows + rows * attention.headSize
        distanceRows = queryGradient + rows * attention.headSize
        distanceGradient = distanceRows + attention.keys * attention.headSize
        products = distanceGradient + attention.keys * attention.headSize
    }
}

extension AttentionComputation {
    /// The elements of a `PositionMemory`.
    func positionScratch(_ rows: Int, _ columns: Int) -> Int {
        positions == nil ? 0 : 2 * rows * headSize + 2 * keys * headSize + rows * (rows + columns - 1)
    }

    /// Copies one head of the distances side by side.
    func packPositions(_ head: Int, _ work: PositionMemory) {
        guard let positions else { return }
        pack(positions.distances, first: head * headSize, stride: heads * headSize, count: keys, into: work.distanceRows)
        kernels.fill(work.distanceGradient, 0, keys * headSize)
    }

    /// Makes q + u and q + v of packed queries.
    func addBiases(_ head: Int, rows: Int, _ queryRows: UnsafeMutablePointer<Float>, _ work: PositionMemory) {
        guard let positions else { return }
        let (content, position) = (positions.contentBias.elements + head * headSize, positions.positionBias.elements + head * headSize)
        let (packed, shifted) = (Elements(queryRows, dataType), Elements(work.queryRows, dataType))
        for row in 0..<rows {
            kernels.add(shifted + row * headSize, packed + row * headSize, position, headSize)
            kernels.add(packed + row * headSize, packed + row * headSize, content, headSize)
        }
        kernels.fill(work.queryGradient, 0, rows * headSize)
    }

    /// The rows of distances that occur in a block: that of its last query and first key, and how many follow it. Row i of the block begins
    /// R - 1 - i behind the first.
    private func distances(of block: Block) -> (first: Int, count: Int) {
        let first = queries - block.query - block.rows + block.key
        return (first, min(block.rows + block.columns - 1, keys - first))
    }

    /// The keys of a block that a row sees.
    private func seenKeys(_ block: Block, _ row: Int) -> Int { min(block.columns, max(0, block.firstVisible + row)) }

    /// Adds (q + v) . r to a block of scores.
    func addPositions(_ block: Block, _ scores: UnsafeMutablePointer<Float>, _ work: PositionMemory) {
        let (first, count) = distances(of: block)
        multiplyMatrices(
            into: MatrixResult(work.products, leading: count), packed(work.queryRows), packed(work.distanceRows, row: first, .transposed),
            m: block.rows, n: count, k: headSize)
        for row in 0..<block.rows {
            let target = scores + row * block.columns
            kernels.add(target, target, work.products + row * count + block.rows - 1 - row, seenKeys(block, row))
        }
    }

    /// Adds what the gradient of a block of scores gives those of q + v and of r.
    func addPositionGradients(_ block: Block, _ scoreGradient: MatrixOperand, _ work: PositionMemory) {
        let (first, count) = distances(of: block)
        let bytes = dataType.byteCount
        let products = UnsafeMutableRawPointer(work.products)
        products.initializeMemory(as: UInt8.self, repeating: 0, count: block.rows * count * bytes)
        for row in 0..<block.rows {
            (products + (row * count + block.rows - 1 - row) * bytes).copyMemory(
                from: scoreGradient.pointer + row * block.columns * bytes, byteCount: seenKeys(block, row) * bytes)
        }
        let gradient = Elements(work.products, dataType)
        multiplyMatrices(
            into: MatrixResult(work.queryGradient, leading: headSize), MatrixOperand(gradient, leading: count),
            packed(work.distanceRows, row: first), m: block.rows, n: headSize, k: count, beta: 1)
        multiplyMatrices(
            into: MatrixResult(work.distanceGradient + first * headSize, leading: headSize), MatrixOperand(gradient, leading: count, .transposed),
            packed(work.queryRows), m: count, n: headSize, k: block.rows, beta: 1)
    }
}

/// Gradients that all sequences add to, one after the other whoever computed them.
struct PositionGradients {
    /// Of r, [B, S, D].
    private let distances: Tensor
    /// Of u and of v, [B, D] each.
    private let content: Tensor
    private let position: Tensor

    init(_ attention: AttentionComputation) {
        let width = attention.heads * attention.headSize
        distances = Tensor(uninitialized: [attention.batch, attention.keys, width])
        content = Tensor(zeros: [attention.batch, width])
        position = Tensor(zeros: [attention.batch, width])
    }

    /// Adds the gradient of some rows of q + u and q + v, of which that of the queries becomes the sum.
    func addBiases(
        _ sequence: Int, _ head: Int, rows: Int, _ queryGradient: UnsafeMutablePointer<Float>, _ work: PositionMemory,
        _ attention: AttentionComputation
    ) {
        let size = attention.headSize
        let place = sequence * attention.heads * size + head * size
        kernels.accumulateColumnSums(content.floats + place, Elements(queryGradient), rows: rows, columns: size)
        kernels.accumulateColumnSums(position.floats + place, Elements(work.queryGradient), rows: rows, columns: size)
        kernels.add(queryGradient, queryGradient, work.queryGradient, rows * size)
    }

    /// Keeps the gradient of one head's distances.
    func store(_ sequence: Int, _ head: Int, _ work: PositionMemory, _ attention: AttentionComputation) {
        let (size, width) = (attention.headSize, attention.heads * attention.headSize)
        for row in 0..<attention.keys {
            (distances.floats + (sequence * attention.keys + row) * width + head * size).update(from: work.distanceGradient + row * size, count: size)
        }
    }

    /// Adds the sums over sequences to the nodes.
    func add(to positions: RelativePositions) {
        for (parts, target) in [(distances, positions.distances), (content, positions.contentBias), (position, positions.positionBias)] {
            guard let node = target.node else { continue }
            let (batch, count) = (parts.shape[0], target.count)
            let sum = Tensor(uninitialized: target.shape)
            parallelElements(count) { first, elements in
                (sum.floats + first).update(from: parts.floats + first, count: elements)
                for sequence in 1..<max(batch, 1) {
                    kernels.add(sum.floats + first, sum.floats + first, parts.floats + sequence * count + first, elements)
                }
            }
            node.accumulate(sum)
        }
    }
}
