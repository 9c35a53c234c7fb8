// The Neural Turing Machine (Graves, Wayne and Danihelka 2014, arXiv 1410.5401). Numbers in brackets are the paper's equations.
//
// Legend: N memory rows, W their width, R read heads, K write heads, C shifts, M memory, w weights, h controller output.

/// A machine without its parameters.
public struct ReferenceTuringMachine: Sendable {
    public var controller = ReferenceController.lstm
    public var layers = 1
    /// By how many rows a head can move at a step.
    public var shifts = -1...1
    /// The numbers for the heads are cut to -limit ... limit.
    public var limit = Double.infinity
    /// Added to the product of the norms.
    public var epsilon = 1e-6
    /// Whether keys go through tanh.
    public var squashesKeys = true
    /// Whether what is added goes through tanh.
    public var squashesAdditions = true

    public init() {}

    /// One step: returns [h[t], r[t]], [H + R W].
    ///
    /// Parameters: those of the controller; `interface.weight`, `.bias`, which make of h the numbers of the heads: key [W], strength, gate,
    /// shift [C], sharpness of each read and then each write head; the erase vectors [K, W]; the add vectors [K, W].
    /// State: `memory` [N, W], `readWeights` [R, N], `writeWeights` [K, N], `reads` [R, W], those of the controller.
    public func step(_ x: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays) -> ReferenceArray {
        let (memory, width) = (state["memory"]!, state["memory"]!.shape[1])
        let (reads, writes) = (state["readWeights"]!.shape[0], state["writeWeights"]!.shape[0])
        let h = controllerStep(controller, layers: layers, x, reads: state["reads"]!, &state, p)
        var numbers = HeadNumbers((p["interface.weight"]!.times(h) + p["interface.bias"]!).clamped(to: -limit...limit))

        let previous = state["readWeights"]!.rows + state["writeWeights"]!.rows
        let weights = previous.map { address(memory, previous: $0, &numbers) }
        state["readWeights"] = .stacked(Array(weights[..<reads]))
        state["writeWeights"] = .stacked(Array(weights[reads...]))
        state["reads"] = state["readWeights"]!.times(memory)  // (2): before the write

        let erase = sigmoid(numbers.matrix(writes, width))
        let add = numbers.matrix(writes, width)
        var (kept, added): (ReferenceArray, ReferenceArray) = (1, 0)
        for (k, w) in weights[reads...].enumerated() {
            kept = kept * (1 - w.outer(erase[k]))  // (3)
            added = added + w.outer(squashesAdditions ? tanh(add[k]) : add[k])  // (4)
        }
        state["memory"] = memory * kept + added
        return .concatenated([h, state["reads"]!.flattened])
    }

    /// The weights of a head, [N].
    private func address(_ memory: ReferenceArray, previous: ReferenceArray, _ numbers: inout HeadNumbers) -> ReferenceArray {
        let raw = numbers.vector(memory.shape[1])
        let key = squashesKeys ? tanh(raw) : raw
        let (strength, gate) = (softplus(numbers.number()), sigmoid(numbers.number()))
        let (shift, sharpness) = (softmax(numbers.vector(shifts.count)), 1 + softplus(numbers.number()))

        let norms = squareRoot((memory * memory).sum()).flattened * squareRoot(key.dot(key))
        let similarity = memory.times(key) / (norms + ReferenceArray(epsilon))  // (6)
        let content = softmax(strength * similarity)  // (5)
        let gated = gate * content + (1 - gate) * previous  // (7)
        let rows = memory.shape[0]
        var shifted = ReferenceArray(repeating: 0, [rows])
        for i in 0..<rows {  // (8)
            for (j, distance) in shifts.enumerated() { shifted.values[i] += gated.values[((i - distance) % rows + rows) % rows] * shift.values[j] }
        }
        let sharp = power(shifted.map { max($0, 1e-16) }, sharpness)
        return sharp / sharp.sum()  // (9)
    }
}
