// Attention in blocks: one head's queries against its keys, forward and backward.
//
// Legend: B sequences, T queries a sequence, S keys a sequence, H heads, K head size, D = H K width; R queries and C keys of a block.

import Diagnostics
import Kernels

/// Dropout on probabilities that are never stored: an element's fate depends on lane, head, query and key alone.
struct AttentionDropout {
    let rate: DropoutRate
    let keys: [UInt64]

    private func first(_ head: Int, _ query: Int, _ key: Int) -> UInt64 { UInt64(head) << 48 | UInt64(query) << 24 | UInt64(key) }

    /// Drops elements of a block, rows `stride` apart, in place.
    func apply(_ block: Elements, sequence: Int, head: Int, query: Int, key: Int, rows: Int, columns: Int, stride: Int) {
        for row in 0..<rows {
            kernels.dropout(
                block + row * stride, block + row * stride, key: keys[sequence], first: first(head, query + row, key),
                keepThreshold: rate.keepThreshold, scale: rate.scale, columns)
        }
    }
}

struct AttentionComputation {
    let query: AttentionOperand
    let key: AttentionOperand
    let value: AttentionOperand
    let heads: Int
    let headSize: Int
    let mask: AttentionMask
    let scale: Float
    let dropout: AttentionDropout?
    /// What scores have beside the products of queries and keys; `nil` for nothing.
    let positions: RelativePositions?
    let (batch, queries, keys): (Int, Int, Int)
    /// Of all operands.
    let dataType: DataType

    /// The most queries of a block.
    static let queryBlock = 64
    /// The most keys of a block: scores, their gradient and both in the operands' type stay in the second-level cache.
    static let keyBlock = 1024

    init(
        query: AttentionOperand, key: AttentionOperand, value: AttentionOperand, width: Int, heads: Int, mask: AttentionMask, scale: Float?,
        dropout: AttentionDropout?, positions: RelativePositions? = nil
    ) {
        require(heads > 0 && width % heads == 0, "attention: \(heads) heads do not divide a width of \(width)")
        require(
            query.tensor.shape[0] == key.tensor.shape[0] && key.tensor.shape[0] == value.tensor.shape[0] && key.length == value.length,
            "attention: query \(query.tensor.shape), key \(key.tensor.shape) and value \(value.tensor.shape) do not fit")
        for operand in [query, key, value] {
            operand.check(heads: heads, headSize: width / heads)
            require(operand.tensor.dataType == query.tensor.dataType, "attention: operands of two types")
        }
        self.query = query
        self.key = key
        self.value = value
        self.heads = heads
        headSize = width / heads
        self.mask = mask
        self.scale = scale ?? 1 / Float(width / heads).squareRoot()
        self.dropout = dropout
        self.positions = positions
        dataType = query.tensor.dataType
        (batch, queries, keys) = (query.tensor.shape[0], query.length, key.length)
        require(!mask.causal || keys >= queries, "attention: a causal mask over \(queries) queries and \(keys) keys")
        require(mask.keyLengths.map { $0.count == batch } ?? true, "attention: \(mask.keyLengths?.count ?? 0) key lengths for \(batch) sequences")
        require(
            mask.firstKeys.map { $0.count == batch * queries } ?? true,
            "attention: \(mask.firstKeys?.count ?? 0) first keys for \(batch) sequences of \(queries) queries")
        require(mask.segmentWindow.map { mask.causal && $0 >= 1 } ?? true, "attention: a window of \(mask.segmentWindow ?? 0) keys")
        positions?.check(self, width: width)
    }

    // MARK: blocks

    /// A block of scores.
    struct Block {
        /// The first query, and R.
        let (query, rows): (Int, Int)
        /// The first key, and C.
        let (key, columns): (Int, Int)
        /// Row r sees the first min(C, max(0, firstVisible + r)) keys of the block.
        let firstVisible: Int
    }

    /// The real keys of a sequence.
    func realKeys(_ sequence: Int) -> Int { min(mask.keyLengths?[sequence] ?? keys, keys) }

    /// The keys that the last of `rows` queries from `first` on sees.
    private func keyLimit(_ sequence: Int, first: Int, rows: Int) -> Int {
        mask.causal ? min(realKeys(sequence), first + rows + keys - queries) : realKeys(sequence)
    }

    /// The first key that any of `rows` queries from `first` on sees.
    private func keyStart(_ sequence: Int, first: Int, rows: Int) -> Int {
        guard let firstKeys = mask.firstKeys else { return 0 }
        return firstKeys[sequence * queries + first..<sequence * queries + first + rows].min() ?? 0
    }

    /// Takes the keys of a block out of the scores that come before the first one of their query, or before its window in the segment.
    func hideKeys(_ block: Block, _ sequence: Int, _ scores: UnsafeMutablePointer<Float>) {
        func hide(_ row: Int, _ hidden: Range<Int>) {
            let columns = hidden.clamped(to: block.key..<block.key + block.columns)
            if !columns.isEmpty { kernels.fill(scores + row * block.columns + columns.lowerBound - block.key, -.infinity, columns.count) }
        }
        let past = keys - queries
        for row in 0..<block.rows {
            let query = block.query + row
            if let firstKeys = mask.firstKeys { hide(row, 0..<firstKeys[sequence * queries + query]) }
            if let window = mask.segmentWindow { hide(row, past..<max(past, past + query + 1 - window)) }
        }
    }

    /// Calls `body` with each block of the queries from `first` on, by rising key.
    func forEachBlock(_ sequence: Int, first: Int, rows: Int, _ body: (Block) -> Void) {
        let limit = keyLimit(sequence, first: first, rows: rows)
        var key = keyStart(sequence, first: first, rows: rows)
        while key < limit {
            let columns = min(Self.keyBlock, limit - key)
            body(Block(query: first, rows: rows, key: key, columns: columns, firstVisible: mask.causal ? first + 1 + keys - queries - key : columns))
            key += columns
        }
    }

    /// Copies rows of one head of an operand side by side: products are faster with rows that follow one another.
    func pack(_ operand: AttentionOperand, _ sequence: Int, row: Int, _ head: Int, count: Int, into memory: UnsafeMutablePointer<Float>) {
        pack(
            operand.tensor, first: operand.place(sequence: sequence, row: row, head: head, headSize: headSize), stride: operand.stride, count: count,
            into: memory)
    }

    /// The same from any tensor of the operands' type, rows `stride` elements apart.
    func pack(_ tensor: Tensor, first: Int, stride: Int, count: Int, into memory: UnsafeMutablePointer<Float>) {
        let bytes = headSize * dataType.byteCount
        var (target, source) = (UnsafeMutableRawPointer(memory), tensor.bytes + first * dataType.byteCount)
        for _ in 0..<count {
            target.copyMemory(from: source, byteCount: bytes)
            target += bytes
            source += stride * dataType.byteCount
        }
    }

    /// Packed rows from row `row` on, as a product reads them.
    func packed(_ memory: UnsafeMutablePointer<Float>, row: Int = 0, _ transposition: Transposition = .none) -> MatrixOperand {
        MatrixOperand(Elements(memory, dataType) + row * headSize, leading: headSize, transposition)
    }

    /// Memory of its own for each thread, [threads, elements].
    func scratch(_ elements: Int) -> Tensor { Tensor(uninitialized: [Workers.count, (elements + 15) & ~15]) }

    // MARK: forward

    /// - Returns: [B, T, D], and the log-sum-exp of each query's scores, [B, H, T], when it is wanted.
    func forward(keepsLogSums: Bool) -> (output: Tensor, logSums: Tensor?) {
        let width = heads * headSize
        let output = Tensor(uninitialized: [batch, queries, width], dataType)
        let logSums = keepsLogSums ? Tensor(uninitialized: [batch, heads, queries]) : nil
        let (rows, columns) = (min(Self.queryBlock, queries), min(Self.keyBlock, keys))
        let memory = scratch(2 * rows * columns + 2 * rows * headSize + 3 * rows + 2 * keys * headSize + positionScratch(rows, columns))
        Workers.forEach(tasks: batch * heads) { task in
            let (b, h) = (task / heads, task % heads)
            let scores = memory.floats + Workers.index * memory.shape[1]
            let probabilities = dataType == .float32 ? scores : scores + rows * columns
            let mixed = scores + 2 * rows * columns
            let queryRows = mixed + rows * headSize
            let keyRows = queryRows + rows * headSize
            let valueRows = keyRows + keys * headSize
            let maximum = valueRows + keys * headSize
            let (sum, correction) = (maximum + rows, maximum + 2 * rows)
            let work = positions.map { _ in PositionMemory(self, correction + rows, rows, columns) }
            if let work { packPositions(h, work) }
            pack(key, b, row: 0, h, count: realKeys(b), into: keyRows)
            pack(value, b, row: 0, h, count: realKeys(b), into: valueRows)
            for first in stride(from: 0, to: queries, by: rows) {
                let rows = min(rows, queries - first)
                pack(query, b, row: first, h, count: rows, into: queryRows)
                if let work { addBiases(h, rows: rows, queryRows, work) }
                kernels.fill(maximum, -.infinity, rows)
                kernels.fill(sum, 0, rows)
                kernels.fill(mixed, 0, rows * headSize)
                forEachBlock(b, first: first, rows: rows) { block in
                    multiplyMatrices(
                        into: MatrixResult(scores, leading: block.columns), packed(queryRows), packed(keyRows, row: block.key, .transposed), m: rows,
                        n: block.columns, k: headSize)
                    if let work { addPositions(block, scores, work) }
                    hideKeys(block, b, scores)
                    let weights = self.probabilities(
                        block, b, h, scores: scores, probabilities, maximum: maximum, sum: sum, correction: correction)
                    if block.key > 0 {
                        for row in 0..<rows where correction[row] != 1 {
                            kernels.affine(mixed + row * headSize, mixed + row * headSize, scale: correction[row], offset: 0, headSize)
                        }
                    }
                    multiplyMatrices(
                        into: MatrixResult(mixed, leading: headSize), weights, packed(valueRows, row: block.key), m: rows, n: headSize,
                        k: block.columns, beta: block.key > 0 ? 1 : 0)
                }
                store(mixed, divisors: sum, into: output, first: (b * queries + first) * width + h * headSize, rows: rows)
                guard let logSums else { continue }
                let target = logSums.floats + (b * heads + h) * queries + first
                kernels.unary(.logarithm, target, sum, rows)
                // A query that sees no key: exp(score - infinity) is zero.
                for row in 0..<rows { target[row] = sum[row] > 0 ? target[row] + maximum[row] : .infinity }
            }
        }
        return (output, logSums)
    }

    /// exp(scale * scores - maximum) of a block in the operands' type, with dropout; brings maximum and sum up to date.
    private func probabilities(
        _ block: Block, _ b: Int, _ h: Int, scores: UnsafeMutablePointer<Float>, _ memory: UnsafeMutablePointer<Float>,
        maximum: UnsafeMutablePointer<Float>, sum: UnsafeMutablePointer<Float>, correction: UnsafeMutablePointer<Float>
    ) -> MatrixOperand {
        let (rows, columns) = (block.rows, block.columns)
        let weights = Elements(memory, dataType)
        kernels.softmaxBlock(
            weights, outStride: columns, scores: scores, stride: columns, scale: scale, maximum: maximum, sum: sum, correction: correction,
            firstVisible: block.firstVisible, rows: rows, columns: columns)
        dropout?.apply(weights, sequence: b, head: h, query: block.query, key: block.key, rows: rows, columns: columns, stride: columns)
        return MatrixOperand(weights, leading: columns)
    }

    /// Writes rows of one head, each divided by its divisor (zeros where that is 0), `width` apart.
    private func store(
        _ mixed: UnsafeMutablePointer<Float>, divisors: UnsafeMutablePointer<Float>, into output: Tensor, first: Int, rows: Int
    ) {
        let width = heads * headSize
        for row in 0..<rows {
            let values = mixed + row * headSize
            let scale = divisors[row] > 0 ? 1 / divisors[row] : 0
            kernels.affine(values, values, scale: scale, offset: 0, headSize)
            kernels.convert(output.elements + first + row * width, Elements(values), headSize)
        }
    }
}

extension MatrixOperand {
    /// A matrix of either floating type.
    init(_ elements: Elements, leading: Int, _ transposition: Transposition = .none) {
        self.init(elements.floats, leading: leading, transposition)
        dataType = elements.type
    }
}
