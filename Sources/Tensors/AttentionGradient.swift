// The backward pass of attention in blocks (Dao et al. 2022, algorithm 4), and where its results go.
//
// Legend: B sequences, T queries a sequence, S keys a sequence, H heads, K head size, D = H K width.

import Kernels

/// Where the gradient of one operand gathers: some columns of a tensor that other operands may share.
private struct GradientTarget {
    let gradient: Tensor
    let operand: AttentionOperand
    /// False: the memory is undefined, every row is stored.
    let accumulates: Bool

    /// Adds or stores rows of one head, float32.
    func write(_ rows: UnsafeMutablePointer<Float>, sequence: Int, row: Int, head: Int, headSize: Int, count: Int) {
        let first = operand.place(sequence: sequence, row: row, head: head, headSize: headSize)
        for i in 0..<count {
            let (place, values) = (first + i * operand.stride, rows + i * headSize)
            let target = gradient.elements + place
            if accumulates { kernels.add(target, target, Elements(values), headSize) } else { kernels.convert(target, Elements(values), headSize) }
        }
    }
}

extension AttentionComputation {
    /// Adds the gradients of query, key and value to their nodes.
    ///
    /// - Parameters:
    ///   - gradient: of the output, [B, T, D].
    ///   - output: the forward pass's result.
    ///   - logSums: the log-sum-exp of each query's scores, [B, H, T].
    func backward(_ gradient: Tensor, output: Tensor, logSums: Tensor) {
        withTargets([query, key, value]) { targets in run(gradient, output, logSums, targets[0], targets[1], targets[2]) }
    }

    /// Calls `body` with a target for each operand that has a node. Operands that are parts of one tensor share its gradient.
    private func withTargets(_ operands: [AttentionOperand], _ body: ([GradientTarget?]) -> Void) {
        var targets = [GradientTarget?](repeating: nil, count: operands.count)
        func fill(_ index: Int) {
            guard index < operands.count else { return body(targets) }
            guard targets[index] == nil, let node = operands[index].tensor.node else { return fill(index + 1) }
            let sharers = operands.indices.filter { operands[$0].tensor.node === node }
            node.withGradientTensor { gradient, accumulate in
                // What the operands cover completely is stored; else they add to zeros.
                let columns = Set(sharers.map { operands[$0].column })
                let isCovered = columns.count == sharers.count && sharers.count * heads * headSize == gradient.shape.columns
                if !accumulate && !isCovered {
                    gradient.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: gradient.count * gradient.dataType.byteCount)
                }
                for sharer in sharers {
                    targets[sharer] = GradientTarget(gradient: gradient, operand: operands[sharer], accumulates: accumulate || !isCovered)
                }
                fill(index + 1)
            }
        }
        fill(0)
    }

    private func run(
        _ gradient: Tensor, _ output: Tensor, _ logSums: Tensor, _ queryTarget: GradientTarget?, _ keyTarget: GradientTarget?,
        _ valueTarget: GradientTarget?
    ) {
        let width = heads * headSize
        let (rows, columns) = (min(Self.queryBlock, queries), min(Self.keyBlock, keys))
        let block = max(rows * columns, 2 * headSize)
        let memory = scratch(4 * block + 4 * keys * headSize + 3 * rows * headSize + rows + positionScratch(rows, columns))
        let sums = positions.map { _ in PositionGradients(self) }
        Workers.forEach(tasks: batch * heads) { task in
            let (b, h) = (task / heads, task % heads)
            let scores = memory.floats + Workers.index * memory.shape[1]
            let keyGradient = scores + 4 * block
            let valueGradient = keyGradient + keys * headSize
            let queryGradient = valueGradient + keys * headSize
            let queryRows = queryGradient + rows * headSize
            let outputRows = queryRows + rows * headSize
            let keyRows = outputRows + rows * headSize
            let valueRows = keyRows + keys * headSize
            let inner = valueRows + keys * headSize
            let work = BlockMemory(
                scores: scores, scoreGradient: scores + block, probabilities: dataType == .float32 ? scores : scores + 2 * block,
                operandGradient: scores + (dataType == .float32 ? block : 3 * block))
            let positionWork = positions.map { _ in PositionMemory(self, inner + rows, rows, columns) }
            if let positionWork { packPositions(h, positionWork) }
            pack(key, b, row: 0, h, count: realKeys(b), into: keyRows)
            pack(value, b, row: 0, h, count: realKeys(b), into: valueRows)
            kernels.fill(keyGradient, 0, 2 * keys * headSize)
            for first in stride(from: 0, to: queries, by: rows) {
                let rows = min(rows, queries - first)
                let place = (b * queries + first) * width + h * headSize
                rowProducts(gradient, output, first: place, rows: rows, scratch: scores, into: inner)
                kernels.fill(queryGradient, 0, rows * headSize)
                pack(query, b, row: first, h, count: rows, into: queryRows)
                if let positionWork { addBiases(h, rows: rows, queryRows, positionWork) }
                pack(gradient, first: place, stride: width, count: rows, into: outputRows)
                forEachBlock(b, first: first, rows: rows) { block in
                    let minus = logSums.floats + (b * heads + h) * queries + first
                    let (weights, scoreGradient) = gradients(
                        block, b, h, queryRows, outputRows, keyRows, valueRows, minus: minus, inner: inner, work, positionWork)
                    let columns = block.columns
                    if valueTarget != nil {
                        multiplyMatrices(
                            into: MatrixResult(valueGradient + block.key * headSize, leading: headSize), weights.transposed, packed(outputRows),
                            m: columns, n: headSize, k: rows, beta: 1)
                    }
                    if keyTarget != nil {
                        multiplyMatrices(
                            into: MatrixResult(keyGradient + block.key * headSize, leading: headSize), scoreGradient.transposed, packed(queryRows),
                            m: columns, n: headSize, k: rows, beta: 1)
                    }
                    if queryTarget != nil || positions != nil {
                        multiplyMatrices(
                            into: MatrixResult(queryGradient, leading: headSize), scoreGradient, packed(keyRows, row: block.key), m: rows,
                            n: headSize, k: columns, beta: block.key > 0 ? 1 : 0)
                    }
                    if let positionWork { addPositionGradients(block, scoreGradient, positionWork) }
                }
                if let positionWork { sums?.addBiases(b, h, rows: rows, queryGradient, positionWork, self) }
                queryTarget?.write(queryGradient, sequence: b, row: first, head: h, headSize: headSize, count: rows)
            }
            keyTarget?.write(keyGradient, sequence: b, row: 0, head: h, headSize: headSize, count: keys)
            valueTarget?.write(valueGradient, sequence: b, row: 0, head: h, headSize: headSize, count: keys)
            if let positionWork { sums?.store(b, h, positionWork, self) }
        }
        if let positions { sums?.add(to: positions) }
    }

    /// The memory of one block, R C elements each.
    private struct BlockMemory {
        let scores: UnsafeMutablePointer<Float>
        let scoreGradient: UnsafeMutablePointer<Float>
        /// Probabilities and the scores' gradient in the operands' type; float32 results replace what they were computed from.
        let probabilities: UnsafeMutablePointer<Float>
        let operandGradient: UnsafeMutablePointer<Float>
    }

    /// The probabilities of a block (after dropout) and the gradient of its scores before scaling, in the operands' type.
    private func gradients(
        _ block: Block, _ b: Int, _ h: Int, _ queryRows: UnsafeMutablePointer<Float>, _ outputRows: UnsafeMutablePointer<Float>,
        _ keyRows: UnsafeMutablePointer<Float>, _ valueRows: UnsafeMutablePointer<Float>, minus: UnsafePointer<Float>, inner: UnsafePointer<Float>,
        _ work: BlockMemory, _ positionWork: PositionMemory?
    ) -> (probabilities: MatrixOperand, scoreGradient: MatrixOperand) {
        let (rows, columns) = (block.rows, block.columns)
        multiplyMatrices(
            into: MatrixResult(work.scores, leading: columns), packed(queryRows), packed(keyRows, row: block.key, .transposed), m: rows, n: columns,
            k: headSize)
        if let positionWork { addPositions(block, work.scores, positionWork) }
        hideKeys(block, b, work.scores)
        multiplyMatrices(
            into: MatrixResult(work.scoreGradient, leading: columns), packed(outputRows), packed(valueRows, row: block.key, .transposed), m: rows,
            n: columns, k: headSize)
        dropout?.apply(
            Elements(work.scoreGradient), sequence: b, head: h, query: block.query, key: block.key, rows: rows, columns: columns, stride: columns)
        let (probability, gradient) = (Elements(work.probabilities, dataType), Elements(work.operandGradient, dataType))
        kernels.softmaxBlockGradient(
            gradient, probability: probability, outStride: columns, outputGradient: work.scoreGradient, scores: work.scores, stride: columns,
            minus: minus, inner: inner, scale: scale, firstVisible: block.firstVisible, rows: rows, columns: columns)
        dropout?.apply(probability, sequence: b, head: h, query: block.query, key: block.key, rows: rows, columns: columns, stride: columns)
        return (MatrixOperand(probability, leading: columns), MatrixOperand(gradient, leading: columns))
    }

    /// inner[r] = the product of row r of the output's gradient with row r of the output, one head.
    private func rowProducts(
        _ gradient: Tensor, _ output: Tensor, first: Int, rows: Int, scratch: UnsafeMutablePointer<Float>, into inner: UnsafeMutablePointer<Float>
    ) {
        let width = heads * headSize
        for row in 0..<rows {
            let place = first + row * width
            kernels.convert(Elements(scratch), gradient.elements + place, headSize)
            kernels.convert(Elements(scratch + headSize), output.elements + place, headSize)
            inner[row] = kernels.dot(scratch, scratch + headSize, headSize)
        }
    }
}

extension MatrixOperand {
    /// The same memory, read as the transpose.
    fileprivate var transposed: MatrixOperand {
        var result = self
        result.transposition = transposition == .none ? .transposed : .none
        return result
    }
}
