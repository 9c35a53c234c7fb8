// Trading arithmetic for memory: activations that are computed again instead of being kept (Chen et al. 2016, "Training deep nets with sublinear
// memory cost").

/// Runs `body` without keeping its activations; the backward pass runs it again.
///
/// The results and all gradients are, bit for bit, those of running `body` on the tape itself, as long as `body` computes the same each time.
///
/// - Parameters:
///   - inputs: what `body` starts from; kept for the second run. One tensor may stand in several places.
///   - tape: where the one operation is recorded.
///   - body: computes on the tape that it is given, from the inputs that it is given and whatever of `tape` it adopts. Called twice when a gradient
///     is wanted.
/// - Returns: what `body` returned, on `tape`.
/// - Complexity: the forward pass of `body` twice; memory for its activations only while it runs.
public func recomputed(_ inputs: [Tensor], on tape: Tape, _ body: @escaping (_ inputs: [Tensor], _ tape: Tape) -> [Tensor]) -> [Tensor] {
    let observer = tape.observer
    func run() -> (outputs: [Tensor], tape: Tape) {
        let own = Tape()
        own.observer = observer
        return (body(inputs.map { own.adopt($0) }, own), own)
    }
    let first = run()
    // Parameters and adopted values count as inputs: their gradients are complete when this operation has run backwards.
    let dependencies = first.tape.adopted.map(\.outer) + first.tape.usedParameters.map { tape.parameter($0) }
    return Operation("recomputed").record(first.outputs.map { $0.stopGradient() }, from: dependencies) { gradients in
        let again = run()
        let roots = zip(again.outputs, gradients).compactMap { output, gradient in gradient.map { (value: output, gradient: $0) } }
        guard roots.contains(where: { $0.value.requiresGradient }) else { return }
        // What an adopted value's gradient holds already is added to in place, as without the second run: a bfloat16 sum is then rounded as often.
        for (outer, inner) in again.tape.adopted where outer.node?.parameter == nil { inner.gathered = outer.node?.takeGathered() }
        again.tape.backward(from: roots)
        for (outer, inner) in again.tape.adopted {
            guard let node = outer.node, let part = inner.takeGathered() else { continue }
            if node.parameter == nil { node.gathered = part } else { node.accumulate(part) }
        }
    }
}

/// The same for a body of one result.
public func recomputed(_ inputs: [Tensor], on tape: Tape, _ body: @escaping (_ inputs: [Tensor], _ tape: Tape) -> Tensor) -> Tensor {
    recomputed(inputs, on: tape) { inputs, tape in [body(inputs, tape)] }[0]
}
