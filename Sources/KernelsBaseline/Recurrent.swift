// The gates of recurrent cells, and their gradients: one pass over a row of all gates.
//
// Legend: H width. A row of gates is 4 H elements of an LSTM (input, forget, candidate, output) or 3 H of a GRU (reset, update, candidate).

import KernelTypes

/// One block of an LSTM cell: the activated gates replace the sums of products, c' = f c + i g, h = o tanh(c').
@inline(__always)
private func lstmBlock<Element: VectorElement>(
    _ hidden: UnsafeMutablePointer<Element>, _ cell: FloatOutput, _ gates: FloatOutput, _ previousCell: FloatInput, _ n: Int, _ i: Block
) {
    let input = sigmoid(load(gates, i))
    let forget = sigmoid(load(gates + n, i))
    let candidate = hyperbolicTangent(load(gates + 2 &* n, i))
    let output = sigmoid(load(gates + 3 &* n, i))
    let next = multiplyAdd(input, candidate, forget * load(previousCell, i))
    store(gates, i, input)
    store(gates + n, i, forget)
    store(gates + 2 &* n, i, candidate)
    store(gates + 3 &* n, i, output)
    store(cell, i, next)
    store(hidden, i, output * hyperbolicTangent(next))
}

@inline(never)
private func lstmRow<Element: VectorElement>(
    _ hidden: UnsafeMutablePointer<Element>, _ cell: FloatOutput, _ gates: FloatOutput, _ previousCell: FloatInput, _ n: Int
) {
    for i in blocks(n).full { lstmBlock(hidden, cell, gates, previousCell, n, i) }
    if let i = blocks(n).rest { lstmBlock(hidden, cell, gates, previousCell, n, i) }
}

@inline(__always)
private func lstmGradientBlock<Element: VectorElement>(
    _ gateGradient: UnsafeMutablePointer<Element>, _ cellGradient: FloatOutput, _ gates: FloatInput, _ cell: FloatInput, _ previousCell: FloatInput,
    _ outputGradient: UnsafePointer<Element>, _ hiddenGradient: FloatInput, _ n: Int, _ i: Block
) {
    let input = load(gates, i)
    let forget = load(gates + n, i)
    let candidate = load(gates + 2 &* n, i)
    let output = load(gates + 3 &* n, i)
    let one: Vector = splat(1.0)
    let squashed = hyperbolicTangent(load(cell, i))
    let h = load(outputGradient, i) + load(hiddenGradient, i)
    let c = multiplyAdd(h * output, one - squashed * squashed, load(cellGradient, i))
    store(gateGradient, i, c * candidate * input * (one - input))
    store(gateGradient + n, i, c * load(previousCell, i) * forget * (one - forget))
    store(gateGradient + 2 &* n, i, c * input * (one - candidate * candidate))
    store(gateGradient + 3 &* n, i, h * squashed * output * (one - output))
    store(cellGradient, i, c * forget)
}

@inline(never)
private func lstmGradientRow<Element: VectorElement>(
    _ gateGradient: UnsafeMutablePointer<Element>, _ cellGradient: FloatOutput, _ gates: FloatInput, _ cell: FloatInput, _ previousCell: FloatInput,
    _ outputGradient: UnsafePointer<Element>, _ hiddenGradient: FloatInput, _ n: Int
) {
    for i in blocks(n).full {
        lstmGradientBlock(gateGradient, cellGradient, gates, cell, previousCell, outputGradient, hiddenGradient, n, i)
    }
    if let i = blocks(n).rest {
        lstmGradientBlock(gateGradient, cellGradient, gates, cell, previousCell, outputGradient, hiddenGradient, n, i)
    }
}

/// One block of a GRU cell: the activated gates replace the products with the input, h' = (1 - z) n + z h.
@inline(__always)
private func gruBlock(_ state: FloatOutput, _ gates: FloatOutput, _ products: FloatInput, _ previous: FloatInput, _ n: Int, _ i: Block) {
    let reset = sigmoid(load(gates, i) + load(products, i))
    let update = sigmoid(load(gates + n, i) + load(products + n, i))
    let candidate = hyperbolicTangent(multiplyAdd(reset, load(products + 2 &* n, i), load(gates + 2 &* n, i)))
    store(gates, i, reset)
    store(gates + n, i, update)
    store(gates + 2 &* n, i, candidate)
    store(state, i, multiplyAdd(update, load(previous, i) - candidate, candidate))
}

@inline(__always)
private func gruGradientBlock<Element: VectorElement>(
    _ inputGradient: UnsafeMutablePointer<Element>, _ productGradient: UnsafeMutablePointer<Element>, _ stateGradient: FloatOutput,
    _ gates: FloatInput, _ candidateProduct: FloatInput, _ previous: FloatInput, _ outputGradient: UnsafePointer<Element>, _ n: Int, _ i: Block
) {
    let reset = load(gates, i)
    let update = load(gates + n, i)
    let candidate = load(gates + 2 &* n, i)
    let one: Vector = splat(1.0)
    let h = load(stateGradient, i) + load(outputGradient, i)
    let sum = h * (one - update) * (one - candidate * candidate)
    let resetGradient = sum * load(candidateProduct, i) * reset * (one - reset)
    let updateGradient = h * (load(previous, i) - candidate) * update * (one - update)
    store(inputGradient, i, resetGradient)
    store(inputGradient + n, i, updateGradient)
    store(inputGradient + 2 &* n, i, sum)
    store(productGradient, i, resetGradient)
    store(productGradient + n, i, updateGradient)
    store(productGradient + 2 &* n, i, sum * reset)
    store(stateGradient, i, h * update)
}

@inline(never)
private func gruGradientRow<Element: VectorElement>(
    _ inputGradient: UnsafeMutablePointer<Element>, _ productGradient: UnsafeMutablePointer<Element>, _ stateGradient: FloatOutput,
    _ gates: FloatInput, _ candidateProduct: FloatInput, _ previous: FloatInput, _ outputGradient: UnsafePointer<Element>, _ n: Int
) {
    for i in blocks(n).full {
        gruGradientBlock(inputGradient, productGradient, stateGradient, gates, candidateProduct, previous, outputGradient, n, i)
    }
    if let i = blocks(n).rest {
        gruGradientBlock(inputGradient, productGradient, stateGradient, gates, candidateProduct, previous, outputGradient, n, i)
    }
}

extension VariantKernels {
    public func lstmCell(_ hidden: Elements, cell: FloatOutput, gates: FloatOutput, previousCell: FloatInput, _ n: Int) {
        switch floatingType("lstmCell", hidden) {
        case .float32: lstmRow(hidden.floats, cell, gates, previousCell, n)
        case .bfloat16: lstmRow(hidden.bfloats, cell, gates, previousCell, n)
        }
    }

    public func lstmCellGradient(
        _ gateGradient: Elements, cellGradient: FloatOutput, gates: FloatInput, cell: FloatInput, previousCell: FloatInput,
        outputGradient dy: Elements, hiddenGradient: FloatInput, _ n: Int
    ) {
        switch floatingType("lstmCellGradient", gateGradient, dy) {
        case .float32: lstmGradientRow(gateGradient.floats, cellGradient, gates, cell, previousCell, dy.floats, hiddenGradient, n)
        case .bfloat16: lstmGradientRow(gateGradient.bfloats, cellGradient, gates, cell, previousCell, dy.bfloats, hiddenGradient, n)
        }
    }

    public func gruCell(_ state: FloatOutput, gates: FloatOutput, products: FloatInput, previous: FloatInput, _ n: Int) {
        for i in blocks(n).full { gruBlock(state, gates, products, previous, n, i) }
        if let i = blocks(n).rest { gruBlock(state, gates, products, previous, n, i) }
    }

    public func gruCellGradient(
        _ inputGradient: Elements, productGradient: Elements, stateGradient: FloatOutput, gates: FloatInput, candidateProduct: FloatInput,
        previous: FloatInput, outputGradient dy: Elements, _ n: Int
    ) {
        switch floatingType("gruCellGradient", inputGradient, productGradient, dy) {
        case .float32:
            gruGradientRow(inputGradient.floats, productGradient.floats, stateGradient, gates, candidateProduct, previous, dy.floats, n)
        case .bfloat16:
            gruGradientRow(inputGradient.bfloats, productGradient.bfloats, stateGradient, gates, candidateProduct, previous, dy.bfloats, n)
        }
    }
}
