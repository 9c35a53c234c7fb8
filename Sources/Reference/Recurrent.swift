// Recurrent cells, and how a cell is stepped over a sequence.
//
// Legend: B sequences, T steps, I input width, H units, x[t] the input, h[t] the hidden state, c[t] the cell.

/// Parameters or parts of a state, by name.
public typealias NamedArrays = [String: ReferenceArray]

/// Steps a cell over the rows of each sequence.
///
/// - Parameters:
///   - x: [B, T, I].
///   - state: parts of [B, ...]; what the cell finds before the first step.
///   - cell: from x[t], [I], and the state of one sequence, which it changes, to the output at t.
/// - Returns: the outputs, [B, T, ...], and the state after the last step.
public func scan(
    _ x: ReferenceArray, from state: NamedArrays, _ cell: (_ x: ReferenceArray, _ state: inout NamedArrays) -> ReferenceArray
) -> (outputs: ReferenceArray, state: NamedArrays) {
    var (outputs, last): ([ReferenceArray], [NamedArrays]) = ([], [])
    for (b, sequence) in x.rows.enumerated() {
        var current = state.mapValues { $0[b] }
        outputs.append(.stacked(sequence.rows.map { cell($0, &current) }))
        last.append(current)
    }
    return (.stacked(outputs), state.keys.reduce(into: [:]) { result, name in result[name] = .stacked(last.map { $0[name]! }) })
}

/// The hidden state as a cell's weights see it: under a dropout mask that is the same at every step, if the state has one (Gal and Ghahramani 2016).
private func readHidden(_ state: NamedArrays) -> ReferenceArray { state["hidden"]! * (state["stateMask"] ?? 1) }

/// h[t] = tanh(W x[t] + U h[t-1] + b) (Elman 1990). Parameters: inputWeight W, hiddenWeight U, bias.
public func elmanCell(_ x: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays) -> ReferenceArray {
    let h = tanh(p["inputWeight"]!.times(x) + p["hiddenWeight"]!.times(readHidden(state)) + p["bias"]!)
    state["hidden"] = h
    return h
}

/// Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers, Schmidhuber and Cummins 2000). Rows of the parameters lie
/// in the order input gate, forget gate, candidate, output gate.
public func lstmCell(_ x: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays) -> ReferenceArray {
    let sums = p["inputWeight"]!.times(x) + p["hiddenWeight"]!.times(readHidden(state)) + p["bias"]!
    return lstmStep(sums, hidden: "hidden", cell: "cell", &state)
}

/// From the sums before the gates: c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]).
func lstmStep(_ sums: ReferenceArray, hidden: String, cell: String, _ state: inout NamedArrays) -> ReferenceArray {
    let gates = sums.split(4)
    let (i, f, g, o) = (sigmoid(gates[0]), sigmoid(gates[1]), tanh(gates[2]), sigmoid(gates[3]))
    let c = f * state[cell]! + i * g
    let h = o * tanh(c)
    (state[cell], state[hidden]) = (c, h)
    return h
}

/// The gated recurrent unit as libraries have it, where the reset gate follows the product with U. Rows: reset gate, update gate, candidate.
///
/// r = sigmoid(W_r x + U_r h + b_r), z = sigmoid(W_z x + U_z h + b_z), n = tanh(W_n x + b_n + r (U_n h + d_n)), h[t] = (1 - z) n + z h[t-1].
public func gruCell(_ x: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays) -> ReferenceArray {
    let a = (p["inputWeight"]!.times(x) + p["inputBias"]!).split(3)
    let b = (p["hiddenWeight"]!.times(readHidden(state)) + p["hiddenBias"]!).split(3)
    let (r, z) = (sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1]))
    let n = tanh(a[2] + r * b[2])
    let h = (1 - z) * n + z * state["hidden"]!
    state["hidden"] = h
    return h
}

/// The gated recurrent unit of its paper (Cho et al. 2014, equations 5 to 8), where the reset gate comes before the product: n = tanh(W_n x + b_n +
/// U_n (r h)). Rows as above.
public func gruResetBeforeCell(_ x: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays) -> ReferenceArray {
    let read = readHidden(state)
    let (a, u) = ((p["inputWeight"]!.times(x) + p["bias"]!).split(3), p["hiddenWeight"]!.split(3, axis: 0))
    let (r, z) = (sigmoid(a[0] + u[0].times(read)), sigmoid(a[1] + u[1].times(read)))
    let n = tanh(a[2] + u[2].times(r * read))
    let h = (1 - z) * n + z * state["hidden"]!
    state["hidden"] = h
    return h
}
