// What a layer needs to know about the pass it runs in.

import Tensors

/// One run through a model: with a tape when gradients are wanted, with dropout when it trains.
public final class ForwardPass {
    /// Where operations are recorded; `nil` in evaluation.
    public let tape: Tape?
    /// Where dropout masks come from; `nil` in evaluation.
    public let dropout: DropoutContext?

    /// A pass that trains (both given), or evaluates (neither).
    public init(tape: Tape? = nil, dropout: DropoutContext? = nil) {
        self.tape = tape
        self.dropout = dropout
    }

    /// The parameter's value, on the tape when there is one.
    public func callAsFunction(_ parameter: Parameter) -> Tensor {
        tape?.parameter(parameter) ?? parameter.value
    }
}
