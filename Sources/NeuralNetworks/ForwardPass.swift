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
    /// What lanes remember from earlier batches; `nil` where every sequence starts with the initial memory. Layers use `remembered` and `remember`.
    private let memory: CarriedMemory?
    /// Where a part that is computed again gets from what lanes remember.
    private var lent: LentMemory?
    /// What a part that is computed again has kept.
    private var kept: [(declarations: [MemoryDeclaration], state: MemoryState)] = []
    /// [B, T] of a batch of text: true where a document begins with the token that is predicted there, so that a memory may be emptied before the
    /// position is read. Empty where nobody knows; a model's loss sets it from its batch.
    public var resets: [Bool] = []
    /// The pairs of earlier segments that a memorizing layer attends to; `nil` where the model reads those of its run, if any.
    public let pairs: PairReading?
    /// Collects pictures of the memory at work; `nil` when nobody asked.
    public let trace: MemoryTrace?
    /// Receives the context vectors of the batch, [B, T, F] in the type of activations, once, from a model that gives them; `nil` when nobody asked.
    /// For passes without a tape.
    public var onContextVectors: ((Tensor) -> Void)?
    /// What layers are to learn beside the model's loss, summed over the batch like it: a scalar on the tape; `nil` where there is nothing such. The
    /// model's loss hands it on.
    public private(set) var auxiliaryLoss: Tensor?

    /// A pass that trains (tape and dropout given), or evaluates (neither). With a tape it trains unless `isTraining` says otherwise.
    public init(
        tape: Tape? = nil, dropout: DropoutContext? = nil, numerics: NumericsCheck? = nil, memory: CarriedMemory? = nil,
        pairs: PairReading? = nil, trace: MemoryTrace? = nil, isTraining: Bool? = nil, stepsDone: Int = .max
    ) {
        self.isTraining = isTraining ?? (tape != nil)
        self.stepsDone = stepsDone
        self.tape = tape
        self.dropout = dropout
        self.numerics = numerics
        self.memory = memory
        self.pairs = pairs
        self.trace = trace
        if let numerics { tape?.observer = numerics }
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

    /// What the lanes of the batch remember under some declarations, on the tape of this pass where there is one; `nil` where they begin, or carry
    /// nothing.
    /// - Parameter withGradient: false for values that no gradient is wanted for.
    public func remembered(_ declarations: [MemoryDeclaration], withGradient: Bool = true) -> MemoryState? {
        guard let lent else { return memory?.state(of: declarations, on: withGradient ? tape : nil) }
        guard let state = lent.state(of: declarations, withGradient) else { return nil }
        return tape.map { tape in MemoryState(state.tensors.map { tape.adopt($0) }) } ?? state
    }

    /// Keeps values for the next batch of the lanes. Nothing where nobody carries memory.
    public func remember(_ state: MemoryState, as declarations: [MemoryDeclaration]) {
        if lent == nil { memory?.keep(state, of: declarations) } else { kept.append((declarations, state)) }
    }

    /// Adds what a layer is to learn beside the model's loss. Not within a part that is computed again.
    public func addAuxiliaryLoss(_ loss: Tensor) { auxiliaryLoss = auxiliaryLoss.map { $0 + loss } ?? loss }

    /// Runs a layer; with `recompute` and a tape its activations are not kept but computed again in the backward pass, with the same dropout. What the
    /// layer remembers from batch to batch goes in and out as without `recompute`, gradients included.
    public func layer(_ inputs: [Tensor], recompute: Bool, _ body: @escaping (_ inputs: [Tensor], _ pass: ForwardPass) -> Tensor) -> Tensor {
        part(inputs, recompute: recompute) { [body($0, $1)] }[0]
    }

    /// The same for a part of a model that has several results.
    public func part(_ inputs: [Tensor], recompute: Bool, _ body: @escaping (_ inputs: [Tensor], _ pass: ForwardPass) -> [Tensor]) -> [Tensor] {
        guard recompute, let tape else { return body(inputs, self) }
        let firstSite = dropout?.site ?? 0
        // The tape keeps the closure: it must not keep this pass, which keeps the tape.
        let lending = LentMemory(self)
        var (declarations, count): ([[MemoryDeclaration]]?, Int) = (nil, 0)
        let results = recomputed(inputs, on: tape) { [dropout, numerics, pairs, trace, isTraining, stepsDone, resets] inputs, tape -> [Tensor] in
            let isFirst = declarations == nil
            let part = ForwardPass(
                tape: tape, dropout: dropout?.copy(at: firstSite), numerics: isFirst ? numerics : nil,
                pairs: isFirst ? pairs : pairs?.again, trace: isFirst ? trace : nil, isTraining: isTraining, stepsDone: stepsDone)
            part.lent = lending
            part.resets = resets
            let outputs = body(inputs, part)
            if isFirst {
                if let dropout, let end = part.dropout?.site { dropout.skip(to: end) }
                (declarations, count) = (part.kept.map(\.declarations), outputs.count)
            }
            return outputs + part.kept.flatMap(\.state.tensors)
        }
        lending.source = nil
        var rest = results.dropFirst(count)
        for names in declarations ?? [] {
            remember(MemoryState(Array(rest.prefix(names.count))), as: names)
            rest = rest.dropFirst(names.count)
        }
        return Array(results.prefix(count))
    }
}

/// What a layer that is computed again has asked for of the memory that its lanes carry: the same values at each run.
private final class LentMemory {
    /// The pass that the layer belongs to, during the first run.
    var source: ForwardPass?
    private var states: [(names: [String], state: MemoryState?)] = []

    init(_ source: ForwardPass) { self.source = source }

    func state(of declarations: [MemoryDeclaration], _ withGradient: Bool) -> MemoryState? {
        let names = declarations.map(\.name)
        if let known = states.first(where: { $0.names == names }) { return known.state }
        let state = source?.remembered(declarations, withGradient: withGradient)
        states.append((names, state))
        return state
    }
}
