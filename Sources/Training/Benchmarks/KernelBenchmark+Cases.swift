// The kernels that the benchmark calls, each with what it reads, writes and computes.

import Kernels
import Tensors

extension KernelBenchmark {
    static func cases(_ k: any KernelSet) -> [[Case]] {
        [softmaxCases(k), normalizationCases(k), activationCases(k), dropoutCases(k), updateCases(k), movingCases(k)]
    }

    /// Attention's rows of 1,024 keys, blocks of 64 queries by 512 keys, and rows over GPT-2's vocabulary. An exponential counts 18 operations.
    private static func softmaxCases(_ k: any KernelSet) -> [Case] {
        func blocks(_ rows: Int, _ body: (_ first: Int, _ count: Int) -> Void) {
            for first in stride(from: 0, to: rows, by: 64) { body(first * 512, min(64, rows - first)) }
        }
        // Running maxima, sums and corrections of a block's rows, and their constants of the gradient.
        let state = Tensor(repeating: 1, [320])
        let (maximum, sum, correction, minus, inner) = (state.floats, state.floats + 64, state.floats + 128, state.floats + 192, state.floats + 256)
        return [
            Case(kernel: "softmax", types: "float32", bytes: 8, columns: 1024, flops: 24) { x, rows in
                for r in 0..<rows { k.softmax(x.b + r * 1024, x.a + r * 1024, scale: 0.125, 1024) }
            },
            Case(kernel: "softmaxGradient", types: "float32", bytes: 12, columns: 1024, flops: 5) { x, rows in
                for r in 0..<rows {
                    k.softmaxGradient(x.c + r * 1024, outputGradient: x.a + r * 1024, probability: x.b + r * 1024, scale: 0.125, 1024)
                }
            },
            Case(kernel: "softmaxBlock", types: "float32", bytes: 8, columns: 512, flops: 24) { x, rows in
                blocks(rows) { first, count in
                    k.softmaxBlock(
                        x.eb + first, outStride: 512, scores: x.a + first, stride: 512, scale: 0.125, maximum: maximum, sum: sum,
                        correction: correction, firstVisible: 512, rows: count, columns: 512)
                }
            },
            Case(kernel: "softmaxBlock", types: "float32 -> bfloat16", bytes: 6, columns: 512, flops: 24) { x, rows in
                blocks(rows) { first, count in
                    k.softmaxBlock(
                        x.hb + first, outStride: 512, scores: x.a + first, stride: 512, scale: 0.125, maximum: maximum, sum: sum,
                        correction: correction, firstVisible: 512, rows: count, columns: 512)
                }
            },
            Case(kernel: "softmaxBlockGradient", types: "float32", bytes: 16, columns: 512, flops: 24) { x, rows in
                blocks(rows) { first, count in
                    k.softmaxBlockGradient(
                        x.ed + first, probability: x.ec + first, outStride: 512, outputGradient: x.b + first, scores: x.a + first, stride: 512,
                        minus: minus, inner: inner, scale: 0.125, firstVisible: 512, rows: count, columns: 512)
                }
            },
            Case(kernel: "softmaxBlockGradient", types: "float32 -> bfloat16", bytes: 12, columns: 512, flops: 24) { x, rows in
                blocks(rows) { first, count in
                    k.softmaxBlockGradient(
                        x.hd + first, probability: x.hc + first, outStride: 512, outputGradient: x.b + first, scores: x.a + first, stride: 512,
                        minus: minus, inner: inner, scale: 0.125, firstVisible: 512, rows: count, columns: 512)
                }
            },
            Case(kernel: "crossEntropy", types: "float32", bytes: 8, columns: 50_257, flops: 23) { x, rows in
                for r in 0..<rows { _ = k.crossEntropy(x.ea + r * 50_257, logits: x.a + r * 50_257, target: r, labelSmoothing: 0, 50_257) }
            },
            Case(kernel: "crossEntropy", types: "float32 -> bfloat16", bytes: 6, columns: 50_257, flops: 23) { x, rows in
                for r in 0..<rows { _ = k.crossEntropy(x.hb + r * 50_257, logits: x.a + r * 50_257, target: r, labelSmoothing: 0, 50_257) }
            },
            Case(kernel: "logSumExponential", types: "float32", bytes: 4, columns: 50_257, flops: 21) { x, rows in
                for r in 0..<rows { _ = k.logSumExponential(x.a + r * 50_257, 50_257) }
            },
        ]
    }

    /// Rows of GPT-2's width.
    private static func normalizationCases(_ k: any KernelSet) -> [Case] {
        let width = 768
        let rowValues = Tensor(repeating: 1, [4 * width])
        let (gain, bias, gainGradient, biasGradient) = (
            rowValues.floats, rowValues.floats + width, rowValues.floats + 2 * width, rowValues.floats + 3 * width
        )
        let statistics = Tensor(repeating: 0.5, [1 << 18])
        let (mean, scale) = (statistics.floats, statistics.floats + (1 << 17))
        return [
            Case(kernel: "layerNorm", types: "float32", bytes: 8, columns: width, flops: 8) { x, rows in
                k.layerNorm(x.eb, mean: mean, reciprocalDeviation: scale, x.a, gain: gain, bias: bias, epsilon: 1e-5, rows: rows, columns: width)
            },
            Case(kernel: "layerNorm", types: "float32 -> bfloat16", bytes: 6, columns: width, flops: 8) { x, rows in
                k.layerNorm(x.hb, mean: mean, reciprocalDeviation: scale, x.a, gain: gain, bias: bias, epsilon: 1e-5, rows: rows, columns: width)
            },
            Case(kernel: "layerNormGradient", types: "float32", bytes: 12, columns: width, flops: 14) { x, rows in
                k.layerNormGradient(
                    x.c, accumulate: false, gainGradient: gainGradient, biasGradient: biasGradient, outputGradient: x.eb, x.a, gain: gain, mean: mean,
                    reciprocalDeviation: scale, rows: rows, columns: width)
            },
            Case(kernel: "layerNormGradient, added", types: "float32", bytes: 16, columns: width, flops: 15) { x, rows in
                k.layerNormGradient(
                    x.c, accumulate: true, gainGradient: gainGradient, biasGradient: biasGradient, outputGradient: x.eb, x.a, gain: gain, mean: mean,
                    reciprocalDeviation: scale, rows: rows, columns: width)
            },
            Case(kernel: "layerNormGradient", types: "bfloat16, float32 -> float32", bytes: 10, columns: width, flops: 14) { x, rows in
                k.layerNormGradient(
                    x.c, accumulate: false, gainGradient: gainGradient, biasGradient: biasGradient, outputGradient: x.hb, x.a, gain: gain, mean: mean,
                    reciprocalDeviation: scale, rows: rows, columns: width)
            },
            Case(kernel: "rmsNorm", types: "float32", bytes: 8, columns: width, flops: 4) { x, rows in
                k.rmsNorm(x.eb, reciprocalRoot: scale, x.a, gain: gain, epsilon: 1e-5, rows: rows, columns: width)
            },
            Case(kernel: "rmsNorm", types: "float32 -> bfloat16", bytes: 6, columns: width, flops: 4) { x, rows in
                k.rmsNorm(x.hb, reciprocalRoot: scale, x.a, gain: gain, epsilon: 1e-5, rows: rows, columns: width)
            },
            Case(kernel: "rmsNormGradient", types: "float32", bytes: 12, columns: width, flops: 10) { x, rows in
                k.rmsNormGradient(
                    x.c, accumulate: false, gainGradient: gainGradient, outputGradient: x.eb, x.a, gain: gain, reciprocalRoot: scale, rows: rows,
                    columns: width)
            },
            Case(kernel: "rmsNormGradient", types: "bfloat16, float32 -> float32", bytes: 10, columns: width, flops: 10) { x, rows in
                k.rmsNormGradient(
                    x.c, accumulate: false, gainGradient: gainGradient, outputGradient: x.hb, x.a, gain: gain, reciprocalRoot: scale, rows: rows,
                    columns: width)
            },
        ]
    }

    /// Rows of GPT-2's inner width.
    private static func activationCases(_ k: any KernelSet) -> [Case] {
        let width = 3072
        let rowValues = Tensor(repeating: 0.25, [2 * width])
        let (row, sums) = (rowValues.floats, rowValues.floats + width)
        var cases = [
            Case(kernel: "addRowGELU", types: "float32", bytes: 8, columns: width, flops: 28) { x, rows in
                k.addRowGELU(x.eb, x.ea, row: row, rows: rows, columns: width)
            },
            Case(kernel: "addRowGELU", types: "bfloat16", bytes: 4, columns: width, flops: 28) { x, rows in
                k.addRowGELU(x.hb, x.ha, row: row, rows: rows, columns: width)
            },
            Case(kernel: "addRowGELUGradient", types: "float32", bytes: 12, columns: width, flops: 36) { x, rows in
                k.addRowGELUGradient(x.ec, outputGradient: x.eb, x.ea, row: row, rows: rows, columns: width)
            },
            Case(kernel: "addRowGELUGradient", types: "bfloat16", bytes: 6, columns: width, flops: 36) { x, rows in
                k.addRowGELUGradient(x.hc, outputGradient: x.hb, x.ha, row: row, rows: rows, columns: width)
            },
            Case(kernel: "addRowRectifier", types: "float32", bytes: 8, columns: width, flops: 2) { x, rows in
                k.addRowRectifier(x.eb, x.ea, row: row, rows: rows, columns: width)
            },
            Case(kernel: "addRowRectifier", types: "bfloat16", bytes: 4, columns: width, flops: 2) { x, rows in
                k.addRowRectifier(x.hb, x.ha, row: row, rows: rows, columns: width)
            },
            Case(kernel: "rectifierGradient", types: "float32", bytes: 12, columns: width, flops: 1) { x, rows in
                k.rectifierGradient(x.ec, outputGradient: x.eb, output: x.ea, rows * width)
            },
            Case(kernel: "rectifierGradient", types: "bfloat16", bytes: 6, columns: width, flops: 1) { x, rows in
                k.rectifierGradient(x.hc, outputGradient: x.hb, output: x.ha, rows * width)
            },
            Case(kernel: "accumulateColumnSums", types: "float32", bytes: 4, columns: width, flops: 1) { x, rows in
                k.accumulateColumnSums(sums, x.ea, rows: rows, columns: width)
            },
            Case(kernel: "accumulateColumnSums", types: "bfloat16", bytes: 2, columns: width, flops: 1) { x, rows in
                k.accumulateColumnSums(sums, x.ha, rows: rows, columns: width)
            },
        ]
        let functions: [(UnaryFunction, Double)] = [(.exponential, 18), (.hyperbolicTangent, 40), (.sigmoid, 22), (.gelu, 55), (.geluTanh, 27)]
        for (function, flops) in functions {
            cases.append(
                Case(kernel: "\(function)", types: "float32", bytes: 8, columns: width, flops: flops) { x, rows in
                    k.unary(function, x.b, x.a, rows * width)
                })
        }
        return cases
    }

    /// The hash of a mask counts 10 integer operations an element.
    private static func dropoutCases(_ k: any KernelSet) -> [Case] {
        let keep: UInt32 = 3_865_470_566
        return [
            Case(kernel: "dropout", types: "float32", bytes: 8, columns: 1024, flops: 11) { x, rows in
                k.dropout(x.eb, x.ea, key: 1, first: 0, keepThreshold: keep, scale: 1.1, rows * 1024)
            },
            Case(kernel: "dropout", types: "bfloat16", bytes: 4, columns: 1024, flops: 11) { x, rows in
                k.dropout(x.hb, x.ha, key: 1, first: 0, keepThreshold: keep, scale: 1.1, rows * 1024)
            },
            Case(kernel: "addDropout", types: "float32", bytes: 12, columns: 1024, flops: 12) { x, rows in
                k.addDropout(x.ec, x.ea, x.eb, key: 1, first: 0, keepThreshold: keep, scale: 1.1, rows * 1024)
            },
            Case(kernel: "addDropout", types: "float32, bfloat16 -> float32", bytes: 10, columns: 1024, flops: 12) { x, rows in
                k.addDropout(x.ec, x.ea, x.hb, key: 1, first: 0, keepThreshold: keep, scale: 1.1, rows * 1024)
            },
        ]
    }

    private static func updateCases(_ k: any KernelSet) -> [Case] {
        var settings = UpdateSettings()
        settings.learningRate = 1e-6
        settings.weightDecay = 0.01
        settings.beta1 = 0.9
        settings.beta2 = 0.999
        let fixed = settings
        return [
            Case(kernel: "adamW", types: "float32", bytes: 28, columns: 1024, flops: 14) { x, rows in
                k.adamW(x.a, x.b, x.c, x.d, fixed, lowPrecision: nil, rows * 1024)
            },
            Case(kernel: "adamW", types: "float32, copied to bfloat16", bytes: 30, columns: 1024, flops: 14) { x, rows in
                k.adamW(x.a, x.b, x.c, x.d, fixed, lowPrecision: x.hd.bfloats, rows * 1024)
            },
            Case(kernel: "sgd", types: "float32, copied to bfloat16", bytes: 22, columns: 1024, flops: 7) { x, rows in
                k.sgd(x.a, x.b, x.d, fixed, lowPrecision: x.hd.bfloats, rows * 1024)
            },
            Case(kernel: "sumOfSquares", types: "float32", bytes: 4, columns: 1024, flops: 2) { x, rows in _ = k.sumOfSquares(x.a, rows * 1024) },
            Case(kernel: "isFinite", types: "float32", bytes: 4, columns: 1024, flops: 2) { x, rows in _ = k.isFinite(x.a, rows * 1024) },
        ]
    }

    /// Conversions and sums of two arrays.
    private static func movingCases(_ k: any KernelSet) -> [Case] {
        [
            Case(kernel: "convert", types: "float32 -> bfloat16", bytes: 6, columns: 1024, flops: 0) { x, rows in
                k.convert(x.hb, x.ea, rows * 1024)
            },
            Case(kernel: "convert", types: "bfloat16 -> float32", bytes: 6, columns: 1024, flops: 0) { x, rows in
                k.convert(x.eb, x.ha, rows * 1024)
            },
            Case(kernel: "add", types: "float32", bytes: 12, columns: 1024, flops: 1) { x, rows in k.add(x.c, x.a, x.b, rows * 1024) },
            Case(kernel: "add", types: "float32, bfloat16 -> float32", bytes: 10, columns: 1024, flops: 1) { x, rows in
                k.add(x.ec, x.ea, x.hb, rows * 1024)
            },
            Case(kernel: "add", types: "bfloat16", bytes: 6, columns: 1024, flops: 1) { x, rows in k.add(x.hc, x.ha, x.hb, rows * 1024) },
        ]
    }
}
