// What a layer needs to know about the pass it runs in.

import Tensors

/// One run through a model: with a tape when gradients are wanted, with dropout when it trains.
public final class ForwardPass {
    /// Whether the model is trained by what it computes: then labels are smoothed. A tape alone does not say so.
    public let isTraining: Bool
    /// The steps of training that were done before this pass, for models that change on the way; `.max` where nobody counts.
    public let stepsDone: Int
    /// Where operations are recorded; `nil` where no gradient is wanted.
    public let tape: Tape?
    /// Where dropout masks come from; `nil` in evaluation.
    public let dropout: DropoutContext?
    /// Looks at every layer's output; `nil` when nobody asked.
    public let numerics: NumericsCheck?
    /// What lanes remember from earlier batches; `nil` where every sequence starts with the initial memory.
    public let memory: CarriedMemory?
    /// Collects pictures of the memory at work; `nil` when nobody asked.
    public let trace: MemoryTrace?

    /// A pass that trains (tape and dropout given), or evaluates (neither). With a tape it trains unless `isTraining` says otherwise.
    public init(
        tape: Tape? = nil, dropout: DropoutContext? = nil, numerics: NumericsCheck? = nil, memory: CarriedMemory? = nil, trace: MemoryTrace? = nil,
        isTraining: Bool? = nil, stepsDone: Int = .max
    ) {
        self.isTraining = isTraining ?? (tape != nil)
        self.stepsDone = stepsDone
        self.tape = tape
        self.dropout = dropout
        self.numerics = numerics
        self.memory = memory
        self.trace = trace
    }

    /// The parameter's float32 value, on the tape when there is one.
    public func callAsFunction(_ parameter: Parameter) -> Tensor {
        tape?.parameter(parameter) ?? parameter.value
    }

    /// The parameter as operand of a matrix product: in the type of activations, on the tape when there is one.
    public func operand(_ parameter: Parameter) -> Tensor {
        tape?.operand(parameter) ?? parameter.operand
    }

    /// What makes products with a constant parameter faster; `nil` on a tape.
    public func packed(_ parameter: Parameter) -> PackedOperand? { tape == nil ? parameter.packedOperand : nil }

    /// The output of a layer, looked at when numbers are checked. `parameter` is one of the layer's, whose path without its last part names it.
    public func checked(_ output: Tensor, _ parameter: Parameter) -> Tensor {
        numerics?.check(output) { parameter.name.split(separator: ".").dropLast().joined(separator: ".") }
        return output
    }

    /// Runs a layer; with `recompute` and a tape its activations are not kept but computed again in the backward pass, with the same dropout.
    public func layer(_ inputs: [Tensor], recompute: Bool, _ body: @escaping (_ inputs: [Tensor], _ pass: ForwardPass) -> Tensor) -> Tensor {
        guard recompute, let tape else { return body(inputs, self) }
        let firstSite = dropout?.site ?? 0
        var isFirst = true
        return recomputed(inputs, on: tape) { [dropout, numerics, isTraining, stepsDone] inputs, tape in
            let part = ForwardPass(
                tape: tape, dropout: dropout?.copy(at: firstSite), numerics: isFirst ? numerics : nil, isTraining: isTraining, stepsDone: stepsDone)
            let output = body(inputs, part)
            if isFirst, let dropout, let end = part.dropout?.site { dropout.skip(to: end) }
            isFirst = false
            return output
        }
    }
}
