// The Differentiable Neural Computer (Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory", Nature 538,
// Methods), with three later changes (Csordas and Schmidhuber 2019, sections 3.1 to 3.3) and one of Franke et al. 2018.
//
// Legend: N memory rows, W their width, R read heads, M memory, u usage, w write weights, r read weights, p precedence, L links.

/// A computer without its parameters.
public struct ReferenceNeuralComputer: Sendable {
    public var controller = ReferenceController.lstm
    public var layers = 1
    /// Strengths are 1 + softplus as in the paper, or softplus as in the released code.
    public var hasOnePlusStrengths = true
    /// The interface is cut to -clip ... clip.
    public var clip = 20.0
    public var masksKeys = false
    public var erasesFreedRows = false
    public var sharpensLinks = false

    public init() {}

    /// One step: returns [h[t], what each head read], [H + R W].
    ///
    /// Parameters: those of the controller; `interface.weight`, `.bias`; `interfaceNorm.weight`, `.bias` where the interface is normalised.
    /// State: `matrix` [N, W], `usage` [N], `precedence` [N], `links` [N, N], `readWeights` [R, N], `writeWeights` [N], `reads` [R, W],
    /// and the controller's.
    public func step(_ x: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays) -> ReferenceArray {
        let (rows, width, heads) = (state["matrix"]!.shape[0], state["matrix"]!.shape[1], state["readWeights"]!.shape[0])
        let h = controllerStep(controller, layers: layers, x, reads: state["reads"]!, &state, p)
        var interface = p["interface.weight"]!.times(h) + p["interface.bias"]!
        if let gain = p["interfaceNorm.weight"] { interface = layerNorm(interface, gain: gain, bias: p["interfaceNorm.bias"]!) }
        var numbers = HeadNumbers(interface.clamped(to: -clip...clip))

        // The interface: what the controller tells the memory. The write head is the last one of keys, masks and strengths.
        let (keys, writeVector, erase) = (numbers.matrix(heads + 1, width), numbers.vector(width), sigmoid(numbers.vector(width)))
        let (freeGates, allocationGate, writeGate) = (sigmoid(numbers.vector(heads)), sigmoid(numbers.number()), sigmoid(numbers.number()))
        let masks = masksKeys ? 0.1 + 0.9 * sigmoid(numbers.matrix(heads + 1, width)) : ReferenceArray(repeating: 1, [heads + 1, width])
        let strengths = softplus(numbers.vector(heads + 1)) + (hasOnePlusStrengths ? 1 : 0)
        let powers = sharpensLinks ? 1 + softplus(numbers.matrix(2, heads)) : nil
        let modes = softmax(numbers.matrix(3, heads).transposed)

        // Usage: rows fill by writing, and are freed after reading.
        var retention: ReferenceArray = 1
        for i in 0..<heads { retention = retention * (1 - freeGates[i] * state["readWeights"]![i]) }
        let (u, w0) = (state["usage"]!, state["writeWeights"]!)
        let usage = (u + w0 - u * w0) * retention

        // Writing: to free rows, or to those that are like the key.
        let old = state["matrix"]!
        let lookup = content(old, key: keys[heads], mask: masks[heads], strength: strengths[heads])
        let w = writeGate * (allocationGate * allocation(usage) + (1 - allocationGate) * lookup)
        let kept = erasesFreedRows ? old * retention.reshaped([rows, 1]) : old
        let matrix = kept * (1 - w.outer(erase)) + w.outer(writeVector)

        // Links: row i was written after row j.
        let (column, precedence) = (w.reshaped([rows, 1]), state["precedence"]!)
        var links = (1 - column - w) * state["links"]! + w.outer(precedence)
        for i in 0..<rows { links.values[i * rows + i] = 0 }

        // Reading: backwards, by content, or forwards.
        let readWeights = (0..<heads).map { i in
            let last = state["readWeights"]![i]
            var (forward, backward) = (links.times(last), links.transposed.times(last))
            if let powers { (forward, backward) = (sharpened(forward, powers[0][i]), sharpened(backward, powers[1][i])) }
            let lookup = content(matrix, key: keys[i], mask: masks[i], strength: strengths[i])
            return modes[i][0] * backward + modes[i][1] * lookup + modes[i][2] * forward
        }
        (state["matrix"], state["usage"], state["links"], state["writeWeights"]) = (matrix, usage, links, w)
        state["precedence"] = (1 - w.total()) * precedence + w
        state["readWeights"] = .stacked(readWeights)
        state["reads"] = state["readWeights"]!.times(matrix)
        return .concatenated([h, state["reads"]!.flattened])
    }

    /// softmax of strength times the cosine of each row with the key, in the dimensions that the mask lets through.
    private func content(_ memory: ReferenceArray, key: ReferenceArray, mask: ReferenceArray, strength: ReferenceArray) -> ReferenceArray {
        let (rows, key) = (memory * mask, key * mask)
        let norms = squareRoot((rows * rows).sum() + 1e-6).flattened * squareRoot(key.dot(key) + 1e-6)
        return softmax(strength * rows.times(key) / norms)
    }

    /// a[i] = (1 - u[i]) times the usages of all rows that are used less.
    private func allocation(_ usage: ReferenceArray) -> ReferenceArray {
        let u = 1e-6 + (1 - 1e-6) * usage
        var (result, product) = (u, 1.0)
        for i in u.values.indices.sorted(by: { (usage.values[$0], $0) < (usage.values[$1], $1) }) {
            result.values[i] = (1 - u.values[i]) * product
            product *= u.values[i]
        }
        return result
    }

    private func sharpened(_ d: ReferenceArray, _ exponent: ReferenceArray) -> ReferenceArray {
        let sharp = power(d + 1e-6, exponent)
        return sharp / sharp.sum()
    }
}
