// Trading arithmetic for memory: activations that are computed again instead of being kept (Chen et al. 2016, "Training deep nets with sublinear
// memory cost").

/// Runs `body` without keeping its activations; the backward pass runs it again.
///
/// The result and all gradients are, bit for bit, those of running `body` on the tape itself, as long as `body` computes the same each time.
///
/// - Parameters:
///   - inputs: what `body` starts from; kept for the second run.
///   - tape: where the one operation is recorded.
///   - body: computes on the tape that it is given, from the inputs that it is given. Called twice when a gradient is wanted.
/// - Complexity: the forward pass of `body` twice; memory for its activations only while it runs.
public func recomputed(_ inputs: [Tensor], on tape: Tape, _ body: @escaping (_ inputs: [Tensor], _ tape: Tape) -> Tensor) -> Tensor {
    func run() -> (inputs: [Tensor], output: Tensor, tape: Tape) {
        let own = Tape()
        let variables = inputs.map { $0.requiresGradient ? own.variable($0) : $0 }
        return (variables, body(variables, own), own)
    }
    let first = run()
    // The parameters count as inputs: their gradients are complete when this operation has run backwards.
    let parameters = first.tape.usedParameters.map { tape.parameter($0) }
    return Tape.record(first.output.stopGradient(), from: inputs + parameters) { gradient in
        let again = run()
        guard again.output.requiresGradient else { return }
        // What an input's gradient holds already is added to in place, as without the second run: a bfloat16 sum is then rounded equally often.
        for (input, variable) in zip(inputs, again.inputs) where input.node?.parameter == nil { variable.node?.gathered = input.node?.takeGathered() }
        again.tape.backward(from: again.output, gradient: gradient)
        for (input, variable) in zip(inputs, again.inputs) {
            guard let node = input.node, let part = variable.node?.takeGathered() else { continue }
            if node.parameter == nil { node.gathered = part } else { node.accumulate(part) }
        }
    }
}
