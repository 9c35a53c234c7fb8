// The list of SIMD kernels: one protocol, implemented once in Sources/KernelsBaseline and compiled once for each instruction set.
//
// Legend: n elements, R rows, C columns; arrays are row-major and contiguous, and may be unaligned. `Elements` are float32 or bfloat16; those of one
// call are of one type unless said otherwise, and a kernel stops the program at types that it does not serve.
// A kernel on bfloat16 computes in float32 and rounds each result once, to nearest even.
// Unless said otherwise output and input of one type may be the same array, but arrays may not overlap in part.
// Every reduction runs in a fixed order that depends on the sizes alone, so results repeat bit for bit.

/// Read-only float32 elements.
public typealias FloatInput = UnsafePointer<Float>
/// Writable float32 elements.
public typealias FloatOutput = UnsafeMutablePointer<Float>
/// Read-only bfloat16 elements, as bit patterns.
public typealias BFloatInput = UnsafePointer<UInt16>
/// Writable bfloat16 elements, as bit patterns.
public typealias BFloatOutput = UnsafeMutablePointer<UInt16>

/// The kernels of one instruction set.
public protocol KernelSet: AddressedMemoryKernels, SearchKernels, SharedScaleKernels, Sendable {
    /// "sse2", "avx2" or "avx512"; "neon" on arm64.
    var instructionSet: String { get }

    // MARK: elementwise

    /// out[i] = value
    func fill(_ out: FloatOutput, _ value: Float, _ n: Int)
    /// out[i] = a[i] + b[i], each of any type; but not bfloat16 from two float32 arrays.
    func add(_ out: Elements, _ a: Elements, _ b: Elements, _ n: Int)
    /// out[i] = a[i] - b[i]
    func subtract(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int)
    /// out[i] = a[i] * b[i]
    func multiply(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int)
    /// out[i] = a[i] / b[i]
    func divide(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int)
    /// out[i] += a[i] * b[i]
    func addProduct(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int)
    /// out[i] = scale * a[i] + offset
    func affine(_ out: FloatOutput, _ a: FloatInput, scale: Float, offset: Float, _ n: Int)
    /// out[i] += scale * a[i]
    func addScaled(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int)
    /// out[i] = min(max(a[i], lower), upper)
    func clamp(_ out: FloatOutput, _ a: FloatInput, lower: Float, upper: Float, _ n: Int)
    /// out[i] = 1 / sqrt(a[i] + epsilon)
    func inverseRoots(_ out: FloatOutput, _ a: FloatInput, epsilon: Float, _ n: Int)
    /// out[i] = function(a[i])
    func unary(_ function: UnaryFunction, _ out: FloatOutput, _ a: FloatInput, _ n: Int)
    /// gradient[i] += outputGradient[i] * function'(input[i]); `output` holds function(input).
    func unaryGradient(
        _ function: UnaryFunction, _ gradient: FloatOutput, outputGradient: FloatInput, input: FloatInput, output: FloatInput, _ n: Int)

    // MARK: rows

    /// row[c] += sum over r of a[r, c], added in float32 in blocks of rows.
    func accumulateColumnSums(_ row: FloatOutput, _ a: Elements, rows: Int, columns: Int)
    /// out[r, c] = geluTanh(a[r, c] + row[c]); `a` may not be `out`.
    func addRowGELU(_ out: Elements, _ a: Elements, row: FloatInput, rows: Int, columns: Int)
    /// gradient[r, c] = outputGradient[r, c] * geluTanh'(a[r, c] + row[c]) (stored, not accumulated)
    func addRowGELUGradient(_ gradient: Elements, outputGradient: Elements, _ a: Elements, row: FloatInput, rows: Int, columns: Int)
    /// out[r, c] = max(0, a[r, c] + row[c]); NaN stays.
    func addRowRectifier(_ out: Elements, _ a: Elements, row: FloatInput, rows: Int, columns: Int)
    /// gradient[i] = outputGradient[i] where output[i] > 0, else 0 (stored, not accumulated)
    func rectifierGradient(_ gradient: Elements, outputGradient: Elements, output: Elements, _ n: Int)

    // MARK: reductions

    /// The sum of a, accumulated in several float32 lanes and combined in float64.
    func sum(_ a: FloatInput, _ n: Int) -> Double
    /// The sum of squares of a, accumulated in float64 every 4,096 elements. Within such a span, 64 zeros that begin at a multiple of 64 may be left out:
    /// the bits are the same.
    func sumOfSquares(_ a: FloatInput, _ n: Int) -> Double
    /// The sum of a[i] * b[i], float32.
    func dot(_ a: FloatInput, _ b: FloatInput, _ n: Int) -> Float
    /// The largest element; -infinity for n = 0; NaN if any is NaN.
    func maximum(_ a: FloatInput, _ n: Int) -> Float
    /// True when no element is NaN or infinite.
    func isFinite(_ a: FloatInput, _ n: Int) -> Bool

    // MARK: softmax and cross-entropy

    /// out[c] = exp(scale * a[c] - m) / sum, m the largest of scale * a, for c < n. A row of only -infinity gives zeros.
    func softmax(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int)
    /// gradient[c] = scale * probability[c] * (outputGradient[c] - sum over k of outputGradient[k] * probability[k])  (stored)
    func softmaxGradient(_ gradient: FloatOutput, outputGradient: FloatInput, probability: FloatInput, scale: Float, _ n: Int)
    /// log(sum(exp(a))), max-subtracted.
    func logSumExponential(_ a: FloatInput, _ n: Int) -> Float
    /// One row of cross-entropy over n classes with label smoothing e: target distribution (1 - e) one-hot + e / n uniform.
    /// `gradient` gets softmax(logits) - target distribution, each probability within 1.5 ulp where it is bfloat16; float32 may take the place of
    /// `logits`. Returns (loss, negative log-likelihood of target), nats.
    func crossEntropy(
        _ gradient: Elements, logits: FloatInput, target: Int, labelSmoothing: Float, _ n: Int
    ) -> (loss: Float, negativeLogLikelihood: Float)

    // MARK: softmax in blocks of columns (attention that never holds a whole matrix of scores)

    /// One block of columns of R rows of softmax in blocks (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).
    /// Row r of `scores` begins at r * stride, and its first min(C, max(0, firstVisible + r)) columns are seen; firstVisible = C shows all.
    /// maximum[r] and sum[r] are what earlier blocks gave, at first -infinity and 0; both are brought up to date, correction[r] is the factor
    /// exp(old maximum - new maximum) for what has been accumulated before, and out[r, c] = exp(scale * scores[r, c] - maximum[r]), 0 where
    /// not seen. A row that has seen nothing has correction 1. Row r of `out` begins at r * outStride; `out` may be `scores`.
    func softmaxBlock(
        _ out: Elements, outStride: Int, scores: FloatInput, stride: Int, scale: Float, maximum: FloatOutput, sum: FloatOutput,
        correction: FloatOutput, firstVisible: Int, rows: Int, columns: Int)
    /// The gradient of R rows of softmax in blocks, from scores: probability[r, c] = exp(scale * scores[r, c] - minus[r]) and
    /// gradient[r, c] = scale * probability[r, c] * (outputGradient[r, c] - inner[r]), both stored. minus[r] is the log-sum-exp of the whole row of
    /// scale * scores, -infinity (nothing seen) counts as 0. Columns are seen as in `softmaxBlock`, zeros are stored where not seen. Rows of `scores`
    /// and `outputGradient` lie `stride` apart, those of `gradient` and `probability` `outStride`. `probability` may be `scores`, `gradient`
    /// `outputGradient`.
    func softmaxBlockGradient(
        _ gradient: Elements, probability: Elements, outStride: Int, outputGradient: FloatInput, scores: FloatInput, stride: Int,
        minus: FloatInput, inner: FloatInput, scale: Float, firstVisible: Int, rows: Int, columns: Int)

    /// One query over n keys, none masked: out = softmax(scale * query keys^T) values, K columns. Rows of keys and values lie `keyStride` and
    /// `valueStride` apart. `scratch` has room for n + K elements. With no keys out is 0.
    func attendRow(
        _ out: Elements, query: Elements, keys: Elements, keyStride: Int, values: Elements, valueStride: Int, scale: Float,
        scratch: FloatOutput, keyCount: Int, headSize: Int)

    // MARK: normalisation

    /// Layer normalisation of each row: out = (a - mean) * reciprocalDeviation * gain + bias, biased variance. `bias` may be nil.
    /// mean[r] and reciprocalDeviation[r] are written for the gradient.
    func layerNorm(
        _ out: Elements, mean: FloatOutput, reciprocalDeviation: FloatOutput, _ a: FloatInput, gain: FloatInput, bias: FloatInput?,
        epsilon: Float, rows: Int, columns: Int)
    /// inputGradient (stored when `accumulate` is false, else added to); gainGradient and biasGradient (either may be nil) are added to.
    func layerNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, biasGradient: FloatOutput?, outputGradient: Elements,
        _ a: FloatInput, gain: FloatInput, mean: FloatInput, reciprocalDeviation: FloatInput, rows: Int, columns: Int)
    /// Root-mean-square normalisation: out = a * reciprocalRoot * gain.
    func rmsNorm(_ out: Elements, reciprocalRoot: FloatOutput, _ a: FloatInput, gain: FloatInput, epsilon: Float, rows: Int, columns: Int)
    /// As `layerNormGradient`.
    func rmsNormGradient(
        _ inputGradient: FloatOutput, accumulate: Bool, gainGradient: FloatOutput?, outputGradient: Elements, _ a: FloatInput,
        gain: FloatInput, reciprocalRoot: FloatInput, rows: Int, columns: Int)

    // MARK: dropout

    /// out[i] = a[i] * scale where hash(key, first + i) as a 32-bit integer is below `keepThreshold`, else 0. A counter-based generator:
    /// element i depends on key and first + i alone, so any part of a mask can be made again, in any order and at any vector width.
    /// Each array of any type.
    func dropout(_ out: Elements, _ a: Elements, key: UInt64, first: UInt64, keepThreshold: UInt32, scale: Float, _ n: Int)
    /// The same, added to another array, which may be `out`: out[i] = residual[i] + ... Each array of any type; but bfloat16 only from bfloat16.
    func addDropout(
        _ out: Elements, _ residual: Elements, _ a: Elements, key: UInt64, first: UInt64, keepThreshold: UInt32, scale: Float, _ n: Int)

    // MARK: optimizers (one pass; `gradient` is only read; g = gradientScale * gradient, for all but AdamW plus weightDecay * value).
    // Where `lowPrecision` is not nil the new values are also written there, rounded to bfloat16.

    /// m = m + (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2;
    /// value = (1 - learningRate * weightDecay) value - learningRate * biasCorrection1 * m / (sqrt(biasCorrection2 * v) + epsilon)
    func adamW(
        _ value: FloatOutput, _ firstMoment: FloatOutput, _ secondMoment: FloatOutput, _ gradient: FloatInput, _ settings: UpdateSettings,
        lowPrecision: BFloatOutput?, _ n: Int)
    /// momentum = beta1 * momentum + g; value -= learningRate * (nesterov ? g + beta1 * momentum : momentum).
    /// Without momentum (nil) value -= learningRate * g.
    func sgd(
        _ value: FloatOutput, _ momentum: FloatOutput?, _ gradient: FloatInput, _ settings: UpdateSettings, lowPrecision: BFloatOutput?, _ n: Int)
    /// average = beta2 * average + (1 - beta2) g^2; momentum = beta1 * momentum + g / (sqrt(average) + epsilon); value -= learningRate * momentum.
    /// Without momentum (nil) the quotient itself is applied.
    func rmsProp(
        _ value: FloatOutput, _ average: FloatOutput, _ momentum: FloatOutput?, _ gradient: FloatInput, _ settings: UpdateSettings,
        lowPrecision: BFloatOutput?, _ n: Int)
    /// accumulator += g^2; value -= learningRate * g / (sqrt(accumulator) + epsilon)
    func adagrad(
        _ value: FloatOutput, _ accumulator: FloatOutput, _ gradient: FloatInput, _ settings: UpdateSettings, lowPrecision: BFloatOutput?, _ n: Int)

    // MARK: conversion

    /// out[i] = a[i], each of any type; bfloat16 is rounded to nearest even, NaN stays NaN. The same array is left alone.
    func convert(_ out: Elements, _ a: Elements, _ n: Int)

    // MARK: memories whose slots are bags of table rows. D is a multiple of 16; T tables lie side by side, so that a row of all of them is T D long.

    /// out[b, t, c] = the sum over entries i of bag b of weights[weightRows[i], c] * table[rows[i], t, c]. Bag b has the entries offsets[b] ..<
    /// offsets[b + 1]. Rows of `table` and of `out` begin `tableStride` and `outStride` elements apart, both at least T D. Indices are not checked.
    func bagSums(
        _ out: FloatOutput, outStride: Int, table: FloatInput, tableStride: Int, rows: UnsafePointer<Int32>, weightRows: UnsafePointer<Int32>,
        offsets: UnsafePointer<Int32>, weights: FloatInput, bags: Int, tables: Int, width: Int)
    /// tableGradient[rows[i], t, c] += weights[weightRows[i], c] * outGradient[b, t, c], bags and entries in order.
    func bagSumsGradient(
        _ tableGradient: FloatOutput, tableStride: Int, outGradient: FloatInput, outStride: Int, rows: UnsafePointer<Int32>,
        weightRows: UnsafePointer<Int32>, offsets: UnsafePointer<Int32>, weights: FloatInput, bags: Int, tables: Int, width: Int)
    /// One query of D elements over n >= 1 slots: probability = softmax(query keys^T), the products themselves where `isLinear`, and
    /// out += probability values. Rows of keys and values lie `stride` apart. `emptySlots` more slots, of zeros, take part in the softmax; nothing is
    /// stored for them.
    func readSlots(
        _ out: FloatOutput, probability: FloatOutput, query: FloatInput, keys: FloatInput, values: FloatInput, stride: Int, isLinear: Bool,
        slots: Int, emptySlots: Int, width: Int)
    /// Its gradient. outGradient: of what was added to `out`. queryGradient is added to; keyGradient and valueGradient (rows `stride` apart, not the
    /// same array) are stored, or added to where told. scratch [n] gets the gradient of the products.
    func readSlotsGradient(
        _ queryGradient: FloatOutput, keyGradient: FloatOutput, accumulateKeys: Bool, valueGradient: FloatOutput, accumulateValues: Bool,
        outGradient: FloatInput, probability: FloatInput, scratch: FloatOutput, query: FloatInput, keys: FloatInput, values: FloatInput, stride: Int,
        isLinear: Bool, slots: Int, width: Int)

    // MARK: recurrent cells (one row of H = n units)

    /// A step of an LSTM. `gates` [4n] holds sums of products of the input, forget, candidate and output gate and gets sigmoid, sigmoid, tanh,
    /// sigmoid of them: i, f, g, o. cell = f * previousCell + i * g; hidden = o * tanh(cell).
    func lstmCell(_ hidden: Elements, cell: FloatOutput, gates: FloatOutput, previousCell: FloatInput, _ n: Int)
    /// Its gradient. `gates` as `lstmCell` left them. outputGradient + hiddenGradient: of `hidden`. `cellGradient` holds what later steps give to
    /// `cell` and gets the gradient of `previousCell`. gateGradient [4n] (may be `gates`): of the sums of products, stored.
    func lstmCellGradient(
        _ gateGradient: Elements, cellGradient: FloatOutput, gates: FloatInput, cell: FloatInput, previousCell: FloatInput,
        outputGradient: Elements, hiddenGradient: FloatInput, _ n: Int)
    /// A step of a GRU. `gates` [3n] holds the products of the input for the reset, update and candidate gate, `products` [3n] those of `previous`:
    /// r = sigmoid(gates + products), z likewise, candidate = tanh(gates + r * products), which `gates` gets. state = (1 - z) candidate + z previous.
    func gruCell(_ state: FloatOutput, gates: FloatOutput, products: FloatInput, previous: FloatInput, _ n: Int)
    /// Its gradient. `gates` as `gruCell` left them; candidateProduct [n] is the last third of `products`. stateGradient + outputGradient: of
    /// `state`; `stateGradient` gets the part of the gradient of `previous` that does not go through `products`. inputGradient, productGradient [3n]:
    /// stored.
    func gruCellGradient(
        _ inputGradient: Elements, productGradient: Elements, stateGradient: FloatOutput, gates: FloatInput, candidateProduct: FloatInput,
        previous: FloatInput, outputGradient: Elements, _ n: Int)

    // MARK: an external memory with usage and links (one step of one sequence of a Differentiable Neural Computer)
    // N memory rows, W memory width, H read heads. A vector over memory rows has S elements (stride): a multiple of 16, those from N on hold 0.
    // What reads and writes the memory itself is in AddressedMemoryKernels.

    /// retention[n] = product over h of (1 - freeGates[h] readWeights[h, n]);
    /// usage = (previousUsage + writeWeights - previousUsage writeWeights) retention. writeWeights and readWeights [H, S]: of the step before.
    func memoryUsage(
        _ usage: FloatOutput, retention: FloatOutput, previousUsage: FloatInput, writeWeights: FloatInput, readWeights: FloatInput,
        freeGates: FloatInput, heads: Int, stride: Int)
    /// Its gradient. usageGradient: of `usage`, becomes that of `previousUsage`. retentionGradient: what else has gathered for it; overwritten.
    /// writeWeightGradient (nil: not wanted) and readWeightGradient are added to, freeGateGradient [H] is stored.
    func memoryUsageGradient(
        _ usageGradient: FloatOutput, retentionGradient: FloatOutput, writeWeightGradient: FloatOutput?, readWeightGradient: FloatOutput,
        freeGateGradient: FloatOutput, previousUsage: FloatInput, writeWeights: FloatInput, retention: FloatInput, readWeights: FloatInput,
        freeGates: FloatInput, heads: Int, stride: Int)
    /// order [N]: the rows by rising usage, equal ones by index. With v = epsilon + (1 - epsilon) usage:
    /// allocation[order[i]] = (1 - v[order[i]]) * product over k < i of v[order[k]]. N^2 comparisons.
    func memoryAllocation(_ allocation: FloatOutput, order: UnsafeMutablePointer<Int32>, usage: FloatInput, epsilon: Float, rows: Int, stride: Int)
    /// Its gradient through the values, not the order, added to usageGradient. products [N] is scratch. No division: usages may be 0.
    func memoryAllocationGradient(
        _ usageGradient: FloatOutput, allocationGradient: FloatInput, order: UnsafePointer<Int32>, usage: FloatInput, products: FloatOutput,
        epsilon: Float, rows: Int)
    /// weights = writeGate (allocationGate allocation + (1 - allocationGate) content); precedence = (1 - sum of weights) previousPrecedence + weights
    func memoryWriteWeights(
        _ weights: FloatOutput, precedence: FloatOutput, previousPrecedence: FloatInput, allocation: FloatInput, content: FloatInput,
        allocationGate: Float, writeGate: Float, stride: Int)
    /// The gradient of the precedence: precedenceGradient becomes that of `previousPrecedence`, writeWeightGradient is added to.
    func memoryPrecedenceGradient(
        _ precedenceGradient: FloatOutput, writeWeightGradient: FloatOutput, previousPrecedence: FloatInput, writeWeights: FloatInput, stride: Int)
    /// The gradient of the write weights: of allocation and content stored, of the gates returned.
    func memoryWriteWeightsGradient(
        allocationGradient: FloatOutput, contentGradient: FloatOutput, weightGradient: FloatInput, allocation: FloatInput, content: FloatInput,
        allocationGate: Float, writeGate: Float, stride: Int) -> (allocationGate: Float, writeGate: Float)
    /// weights[h] = modes[0, h] backward[h] + modes[1, h] content[h] + modes[2, h] forward[h]; modes [3, H], the others [H, S].
    func memoryReadWeights(
        _ weights: FloatOutput, backward: FloatInput, content: FloatInput, forward: FloatInput, modes: FloatInput, heads: Int, stride: Int)
    /// Its gradient, all stored.
    func memoryReadWeightsGradient(
        backwardGradient: FloatOutput, contentGradient: FloatOutput, forwardGradient: FloatOutput, modeGradient: FloatOutput,
        weightGradient: FloatInput, backward: FloatInput, content: FloatInput, forward: FloatInput, modes: FloatInput, heads: Int, stride: Int)
    /// The softmax over the three modes of each head, in place; [3, H].
    func readModes(_ modes: FloatOutput, heads: Int)
    /// cosines: in, products of a key with the memory rows; out, times inverseNorms and inverseKeyNorm. weights = softmax(strength cosines), N rows.
    func contentWeights(
        _ weights: FloatOutput, cosines: FloatOutput, inverseNorms: FloatInput, inverseKeyNorm: Float, strength: Float, rows: Int, stride: Int)
    /// Its gradient: of the products, stored; of the strength, returned. normScale is added to: memory row n gets normScale[n] times itself. The key
    /// gets keyScale times itself.
    func contentWeightsGradient(
        _ productGradient: FloatOutput, normScale: FloatOutput, weightGradient: FloatInput, weights: FloatInput, cosines: FloatInput,
        inverseNorms: FloatInput, inverseKeyNorm: Float, strength: Float, stride: Int) -> (strength: Float, keyScale: Float)
    /// out = (a + epsilon)^power, divided by their sum over N rows.
    func sharpen(_ out: FloatOutput, _ a: FloatInput, power: Float, epsilon: Float, rows: Int, stride: Int)
    /// Its gradient: `gradient` of `output` becomes that of a; that of the power is returned.
    func sharpenGradient(_ gradient: FloatOutput, _ a: FloatInput, output: FloatInput, power: Float, epsilon: Float, stride: Int) -> Float

    /// One write of the link matrix [rows, S] and one step along it: links[i, j] = (1 - w[i] - w[j]) previous[i, j] + w[i] precedence[j], w =
    /// writeWeights, 0 on the diagonal; forward[h] = links readWeights[h], backward[h] = links^T readWeights[h]. rows: N rounded up to a multiple of
    /// 4; heads: a multiple of 4. `links` may not be `previous`.
    func linkMemory(
        _ links: FloatOutput, forward: FloatOutput, backward: FloatOutput, previous: FloatInput, writeWeights: FloatInput, precedence: FloatInput,
        readWeights: FloatInput, heads: Int, rows: Int, stride: Int)
    /// Its gradient: linkGradient of `links` becomes that of `previous`; those of the weights and the precedence are added to.
    func linkMemoryGradient(
        _ linkGradient: FloatOutput, readWeightGradient: FloatOutput, writeWeightGradient: FloatOutput, precedenceGradient: FloatOutput,
        forwardGradient: FloatInput, backwardGradient: FloatInput, previous: FloatInput, writeWeights: FloatInput, precedence: FloatInput,
        readWeights: FloatInput, heads: Int, rows: Int, stride: Int)
}

extension KernelSet {
    /// out[i] = a[i] + b[i], float32.
    @inlinable @inline(__always)
    public func add(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) { add(Elements(out), Elements(a), Elements(b), n) }
}
