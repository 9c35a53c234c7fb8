// The list of SIMD kernels of memories that are read and written by weights over their rows, as in the Neural Turing Machine.
//
// Legend: N rows of the memory, W their width, S the stride: N rounded up to a multiple of 16. K writes or vectors, C shifts.
// The memory of a sequence is stored by columns, [W, S]: row i of the memory is element i of each. So every pass runs along vectors whatever W is.
// What belongs to rows ([S]: weights, norms, scores) has the same stride; elements from N on are padding, which is 0 in the memory and in weights.

/// The extents of an addressed memory.
public struct AddressedMemoryShape: Sendable, Equatable {
    /// N.
    public let rows: Int
    /// W.
    public let width: Int
    /// S.
    public let stride: Int

    /// N rows of W, both positive; the stride follows.
    public init(rows: Int, width: Int) {
        self.rows = rows
        self.width = width
        stride = (rows + 15) / 16 * 16
    }

    /// Elements of a stored memory, W S.
    public var count: Int { width * stride }
}

/// How a head of a Neural Turing Machine turns scores into weights.
///
/// A head's numbers lie in the order key [W], strength, gate, shift [C], sharpness.
public struct HeadAddressing: Sendable, Equatable {
    /// The shift of the first of C weights; the others follow one by one.
    public let lowestShift: Int
    /// C.
    public let shifts: Int
    /// Added to the product of the norms.
    public let epsilon: Float
    /// A head's numbers are cut to -limit ... limit before anything else; infinity for none.
    public let limit: Float
    /// Whether keys are tanh of a head's numbers, or those themselves.
    public let squashesKeys: Bool
    /// Likewise of what a head adds.
    public let squashesAdditions: Bool

    /// The same for all heads of a memory.
    public init(lowestShift: Int, shifts: Int, epsilon: Float, limit: Float, squashesKeys: Bool, squashesAdditions: Bool) {
        self.lowestShift = lowestShift
        self.shifts = shifts
        self.epsilon = epsilon
        self.limit = limit
        self.squashesKeys = squashesKeys
        self.squashesAdditions = squashesAdditions
    }

    /// How far the farthest shift reaches, in rows.
    public var reach: Int { max(abs(lowestShift), abs(lowestShift + shifts - 1)) }

    /// Elements of scratch that `headWeights` and its gradient need: two rings of S elements with room for the reach, rounded up to a multiple of 16,
    /// at either end.
    public func scratchCount(_ shape: AddressedMemoryShape) -> Int { 2 * (shape.stride + 2 * ((reach + 15) / 16 * 16)) }

    /// Numbers of a head for memory rows of `width`.
    public func numbers(width: Int) -> Int { width + 3 + shifts }
}

/// What addressing computes for a head on its way, each [S]: kept for the gradient.
public struct AddressingSteps {
    /// First the products of key and rows, then their cosine.
    public var cosine: FloatOutput
    /// Softmax of strength * cosine.
    public var content: FloatOutput
    /// After gate and shift.
    public var shifted: FloatOutput
    /// After sharpening: the weights.
    public var weights: FloatOutput

    /// Borrows four buffers of S elements for the calls that take them.
    public init(cosine: FloatOutput, content: FloatOutput, shifted: FloatOutput, weights: FloatOutput) {
        self.cosine = cosine
        self.content = content
        self.shifted = shifted
        self.weights = weights
    }
}

/// Outer products that are summed: the sum over j < count of left[j, w] * right[j, i]; rows of `left` lie `leftStride` apart, those of `right` S.
public struct OuterProducts {
    /// [count, W], rows `leftStride` apart.
    public var left: FloatInput
    /// Elements from one row of `left` to the next.
    public var leftStride: Int
    /// [count, S].
    public var right: FloatInput
    /// How many products are summed.
    public var count: Int

    /// Borrows both buffers for the calls that take them.
    public init(_ left: FloatInput, leftStride: Int, _ right: FloatInput, count: Int) {
        self.left = left
        self.leftStride = leftStride
        self.right = right
        self.count = count
    }
}

/// The kernels of addressed memories. One call is one sequence and one step.
public protocol AddressedMemoryKernels {
    /// out[k, i] = sum over w of vectors[k, w] * m[w, i], added when `accumulate`; m is the memory, or its squares where `isSquared`. norms[i],
    /// unless nil, is the root of the sum of squares of row i; there are none of squares. Rows of `vectors` lie `vectorStride` apart, those of `out`
    /// S. All S elements are written.
    func rowProducts(
        _ out: FloatOutput, norms: FloatOutput?, memory: FloatInput, vectors: FloatInput, vectorStride: Int, count: Int, isSquared: Bool,
        accumulate: Bool, _ shape: AddressedMemoryShape)

    /// out[k, w] = sum over i of weights[k, i] * m[w, i]; m is the memory, or its squares where `isSquared`. Rows of `out` lie `outStride` apart.
    func rowSums(
        _ out: FloatOutput, outStride: Int, memory: FloatInput, weights: FloatInput, count: Int, isSquared: Bool, _ shape: AddressedMemoryShape)

    /// next[w, i] = memory[w, i] * retention[i] * (product over k of 1 - weights[k, i] erase[k, w]) + sum over k of weights[k, i] add[k, w], and
    /// inverseNorms[i] = 1 / sqrt(epsilon + sum over w of next[w, i]^2). `retention` nil is ones, `inverseNorms` nil is not wanted. `next` may be
    /// `memory`. Rows of `erase` and `add` are W long.
    func writeRows(
        _ next: FloatOutput, inverseNorms: FloatOutput?, epsilon: Float, memory: FloatInput, weights: FloatInput, erase: FloatInput, add: FloatInput,
        count: Int, retention: FloatInput?, _ shape: AddressedMemoryShape)

    /// The gradient of `writeRows`, but for that through the norms: `gradient` [W, S] of `next` becomes that of `memory`; weightGradient [K, S] and
    /// retentionGradient [S] (nil: not wanted) are added to, eraseGradient and addGradient [K, W] stored. K is at least 1.
    func writeRowsGradient(
        _ gradient: FloatOutput, weightGradient: FloatOutput, eraseGradient: FloatOutput, addGradient: FloatOutput, retentionGradient: FloatOutput?,
        memory: FloatInput, weights: FloatInput, erase: FloatInput, add: FloatInput, count: Int, retention: FloatInput?,
        _ shape: AddressedMemoryShape)

    /// gradient[w, i] += rowScale[i] * memory[w, i] + the outer products; `rowScale` nil is zeros.
    func addOuterProducts(
        _ gradient: FloatOutput, memory: FloatInput, rowScale: FloatInput?, _ first: OuterProducts, _ second: OuterProducts?,
        _ shape: AddressedMemoryShape)

    /// gradient[w, i] += memory[w, i] * the outer products
    func addScaledOuterProducts(_ gradient: FloatOutput, memory: FloatInput, _ products: OuterProducts, _ shape: AddressedMemoryShape)

    /// A head's numbers after their functions: key, softplus, sigmoid, softmax, 1 + softplus; returns the norm of the key. `out` may not be
    /// `numbers`.
    func headNumbers(_ out: FloatOutput, _ numbers: FloatInput, _ addressing: HeadAddressing, width: Int) -> Float

    /// Its gradient: from that of the results to that of `numbers`, in place. `numbers` and `results` as above.
    func headNumbersGradient(_ gradient: FloatOutput, numbers: FloatInput, results: FloatInput, _ addressing: HeadAddressing, width: Int)

    /// What a head erases and adds, [W] each: erase' = sigmoid(erase), add' = add or tanh(add), of numbers cut to -limit ... limit.
    func writeVectors(erase: FloatOutput, add: FloatOutput, numbers: FloatInput, additions: FloatInput, _ addressing: HeadAddressing, width: Int)

    /// Its gradient, in place.
    func writeVectorsGradient(
        eraseGradient: FloatOutput, addGradient: FloatOutput, numbers: FloatInput, additions: FloatInput, erase: FloatInput, add: FloatInput,
        _ addressing: HeadAddressing, width: Int)

    /// The weights of a head (Graves et al. 2014, equations 5 to 9), from products with the key in `steps.cosine`: cosine, softmax, gate with the
    /// weights before, circular shift, sharpening (elements below 1e-16 count as that). `steps.weights` may be `previous`.
    /// - Parameters:
    ///   - numbers: as `headNumbers` left them; the key is not read.
    ///   - norms: [S], of the rows; keyNorm: of the key.
    ///   - scratch: room for `addressing.scratchCount` elements.
    func headWeights(
        _ steps: AddressingSteps, previous: FloatInput, norms: FloatInput, keyNorm: Float, numbers: FloatInput, _ addressing: HeadAddressing,
        scratch: FloatOutput, _ shape: AddressedMemoryShape)

    /// Its gradient.
    /// - Parameters:
    ///   - weightGradient: [S], of the weights; gets that of `previous`.
    ///   - keyFactors: [S], stored: the gradient of the key is the sum of keyFactors[i] * row i, less the returned factor times the key.
    ///   - rowScale: [S], subtracted from: the gradient of row i is keyFactors[i] * key and what is subtracted here times row i, negative.
    ///   - numberGradient: stored in the places behind the key.
    ///   - scratch: as above.
    /// - Returns: see `keyFactors`.
    func headWeightsGradient(
        weightGradient: FloatOutput, keyFactors: FloatOutput, rowScale: FloatOutput, numberGradient: FloatOutput, _ steps: AddressingSteps,
        previous: FloatInput, norms: FloatInput, keyNorm: Float, numbers: FloatInput, _ addressing: HeadAddressing, scratch: FloatOutput,
        _ shape: AddressedMemoryShape
    ) -> Float
}
