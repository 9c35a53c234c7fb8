// The plain erase/add memory: one soft address a step, where a network writes and then reads.
//
// Legend: N memory rows, W their width, I input width, H units.

/// One step: returns [h[t], r[t]], [H + W].
///
/// Parameters: `interface.inputWeight` [N + 2 W, I], `.hiddenWeight` [N + 2 W, H], `.bias`; those of the controller, which is recurrent.
/// State: `memory` [N, W], `controller.0.hidden` [H].
public func eraseAddStep(
    _ x: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays,
    activation: @escaping @Sendable (ReferenceArray) -> ReferenceArray = { tanh($0) }
) -> ReferenceArray {
    let (rows, width) = (state["memory"]!.shape[0], state["memory"]!.shape[1])
    var numbers = HeadNumbers(
        p["interface.inputWeight"]!.times(x) + p["interface.hiddenWeight"]!.times(state["controller.0.hidden"]!) + p["interface.bias"]!)
    let (w, erase, value) = (softmax(numbers.vector(rows)), sigmoid(numbers.vector(width)), numbers.vector(width))
    let memory = state["memory"]! * (1 - w.outer(erase)) + w.outer(value)
    let read = memory.transposed.times(w)
    state["memory"] = memory
    let h = controllerStep(.recurrent(activation), layers: 1, x, reads: read, &state, p)
    return .concatenated([h, read])
}
