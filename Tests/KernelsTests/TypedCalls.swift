// The kernels that take `Elements`, called with arrays of float32 or of bfloat16 bit patterns.

import Kernels

/// What tests keep elements in: Float, or UInt16 as bfloat16 bit patterns.
protocol StoredElement {
    static var dataType: DataType { get }
}

extension Float: StoredElement { static var dataType: DataType { .float32 } }
extension UInt16: StoredElement { static var dataType: DataType { .bfloat16 } }

private func elements<E: StoredElement>(_ pointer: UnsafePointer<E>) -> Elements {
    Elements(UnsafeMutableRawPointer(mutating: pointer), E.dataType)
}

extension KernelSet {
    func add<Y: StoredElement, A: StoredElement, B: StoredElement>(
        _ out: UnsafeMutablePointer<Y>, _ a: UnsafePointer<A>, _ b: UnsafePointer<B>, _ n: Int
    ) {
        add(elements(out), elements(a), elements(b), n)
    }

    func convert<Y: StoredElement, A: StoredElement>(_ out: UnsafeMutablePointer<Y>, _ a: UnsafePointer<A>, _ n: Int) {
        convert(elements(out), elements(a), n)
    }

    func accumulateColumnSums<A: StoredElement>(_ row: FloatOutput, _ a: UnsafePointer<A>, rows: Int, columns: Int) {
        accumulateColumnSums(row, elements(a), rows: rows, columns: columns)
    }

    func addRowGELU<E: StoredElement>(_ out: UnsafeMutablePointer<E>, _ a: UnsafePointer<E>, row: FloatInput, rows: Int, columns: Int) {
        addRowGELU(elements(out), elements(a), row: row, rows: rows, columns: columns)
    }

    func addRowGELUGradient<E: StoredElement>(
        _ gradient: UnsafeMutablePointer<E>, outputGradient: UnsafePointer<E>, _ a: UnsafePointer<E>, row: FloatInput, rows: Int, columns: Int
    ) {
        addRowGELUGradient(elements(gradient), outputGradient: elements(outputGradient), elements(a), row: row, rows: rows, columns: columns)
    }

    func addRowRectifier<E: StoredElement>(_ out: UnsafeMutablePointer<E>, _ a: UnsafePointer<E>, row: FloatInput, rows: Int, columns: Int) {
        addRowRectifier(elements(out), elements(a), row: row, rows: rows, columns: columns)
    }

    func rectifierGradient<E: StoredElement>(
        _ gradient: UnsafeMutablePointer<E>, outputGradient: UnsafePointer<E>, output: UnsafePointer<E>, _ n: Int
    ) {
        rectifierGradient(elements(gradient), outputGradient: elements(outputGradient), output: elements(output), n)
    }

    func crossEntropy<E: StoredElement>(
        _ gradient: UnsafeMutablePointer<E>, logits: FloatInput, target: Int, labelSmoothing: Float, _ n: Int
    ) -> (loss: Float, negativeLogLikelihood: Float) {
        crossEntropy(elements(gradient), logits: logits, target: target, labelSmoothing: labelSmoothing, n)
    }

    func softmaxBlock<E: StoredElement>(
        _ out: UnsafeMutablePointer<E>, outStride: Int, scores: FloatInput, stride: Int, scale: Float, maximum: FloatOutput, sum: FloatOutput,
        correction: FloatOutput, firstVisible: Int, rows: Int, columns: Int
    ) {
        softmaxBlock(
            elements(out), outStride: outStride, scores: scores, stride: stride, scale: scale, maximum: maximum, sum: sum, correction: correction,
            firstVisible: firstVisible, rows: rows, columns: columns)
    }

    func softmaxBlockGradient<E: StoredElement>(
        _ gradient: UnsafeMutablePointer<E>, probability: UnsafeMutablePointer<E>, outStride: Int, outputGradient: FloatInput, scores: FloatInput,
        stride: Int, minus: FloatInput, inner: FloatInput, scale: Float, firstVisible: Int, rows: Int, columns: Int
    ) {
        softmaxBlockGradient(
            elements(gradient), probability: elements(probability), outStride: outStride, outputGradient: outputGradient, scores: scores,
            stride: stride, minus: minus, inner: inner, scale: scale, firstVisible: firstVisible, rows: rows, columns: columns)
    }

    func attendRow<E: StoredElement>(
        _ out: UnsafeMutablePointer<E>, query: UnsafePointer<E>, keys: UnsafePointer<E>, keyStride: Int, values: UnsafePointer<E>, valueStride: Int,
        scale: Float, scratch: FloatOutput, keyCount: Int, headSize: Int
    ) {
        attendRow(
            elements(out), query: elements(query), keys: elements(keys), keyStride: keyStride, values: elements(values), valueStride: valueStride,
            scale: scale, scratch: scratch, keyCount: keyCount, headSize: headSize)
    }

    func layerNorm<Y: StoredElement>(
        _ out: UnsafeMutablePointer<Y>, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: FloatInput, gain: FloatInput, bias: FloatInput?,
        epsilon: Float, rows: Int, columns: Int
    ) {
        layerNorm(
            elements(out), mean: mean, reciprocalDeviation: reciprocalDeviation, a, gain: gain, bias: bias, epsilon: epsilon, rows: rows,
            columns: columns)
    }

    func layerNormGradient<DY: StoredElement>(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient: UnsafePointer<DY>,
        _ a: FloatInput, gain: FloatInput, mean: FloatInput, reciprocalDeviation: FloatInput, rows: Int, columns: Int
    ) {
        layerNormGradient(
            inputGradient, accumulate: accumulate, gainGradient: gainGradient, biasGradient: biasGradient, outputGradient: elements(outputGradient),
            a, gain: gain, mean: mean, reciprocalDeviation: reciprocalDeviation, rows: rows, columns: columns)
    }

    func rmsNorm<Y: StoredElement>(
        _ out: UnsafeMutablePointer<Y>, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int
    ) {
        rmsNorm(elements(out), reciprocalRoot: reciprocalRoot, a, gain: gain, epsilon: epsilon, rows: rows, columns: columns)
    }

    func rmsNormGradient<DY: StoredElement>(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient: UnsafePointer<DY>, _ a: FloatInput,
        gain: FloatInput, reciprocalRoot: FloatInput, rows: Int, columns: Int
    ) {
        rmsNormGradient(
            inputGradient, accumulate: accumulate, gainGradient: gainGradient, outputGradient: elements(outputGradient), a, gain: gain,
            reciprocalRoot: reciprocalRoot, rows: rows, columns: columns)
    }

    func dropout<Y: StoredElement, A: StoredElement>(
        _ out: UnsafeMutablePointer<Y>, _ a: UnsafePointer<A>, key: UInt64, first: UInt64, keepThreshold: UInt32, scale: Float, _ n: Int
    ) {
        dropout(elements(out), elements(a), key: key, first: first, keepThreshold: keepThreshold, scale: scale, n)
    }

    func addDropout<Y: StoredElement, R: StoredElement, A: StoredElement>(
        _ out: UnsafeMutablePointer<Y>, _ residual: UnsafePointer<R>, _ a: UnsafePointer<A>, key: UInt64, first: UInt64, keepThreshold: UInt32,
        scale: Float, _ n: Int
    ) {
        addDropout(elements(out), elements(residual), elements(a), key: key, first: first, keepThreshold: keepThreshold, scale: scale, n)
    }

    func lstmCell<H: StoredElement>(
        _ hidden: UnsafeMutablePointer<H>, cell: FloatOutput, gates: FloatOutput, previousCell: FloatInput, _ n: Int
    ) {
        lstmCell(elements(hidden), cell: cell, gates: gates, previousCell: previousCell, n)
    }

    func lstmCellGradient<E: StoredElement>(
        _ gateGradient: UnsafeMutablePointer<E>, cellGradient: FloatOutput, gates: FloatInput, cell: FloatInput, previousCell: FloatInput,
        outputGradient: UnsafePointer<E>, hiddenGradient: FloatInput, _ n: Int
    ) {
        lstmCellGradient(
            elements(gateGradient), cellGradient: cellGradient, gates: gates, cell: cell, previousCell: previousCell,
            outputGradient: elements(outputGradient), hiddenGradient: hiddenGradient, n)
    }

    func gruCellGradient<E: StoredElement>(
        _ inputGradient: UnsafeMutablePointer<E>, productGradient: UnsafeMutablePointer<E>, stateGradient: FloatOutput, gates: FloatInput,
        candidateProduct: FloatInput, previous: FloatInput, outputGradient: UnsafePointer<E>, _ n: Int
    ) {
        gruCellGradient(
            elements(inputGradient), productGradient: elements(productGradient), stateGradient: stateGradient, gates: gates,
            candidateProduct: candidateProduct, previous: previous, outputGradient: elements(outputGradient), n)
    }
}
