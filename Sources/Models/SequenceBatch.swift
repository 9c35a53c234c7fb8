// A batch of sequences for models that read step by step and answer at some of the steps: copy, recall, addition, stories word by word.
//
// Legend: B sequences (one a lane), T steps, I input width, O output width.

import Tensors

/// What is to be answered.
public enum SequenceTargets {
    /// Independent bits: float32 [B, T, O] of 0 and 1, scored by binary cross-entropy.
    case bits(Tensor)
    /// One class a step: int32 [B, T], scored by cross-entropy.
    case classes(Tensor)
    /// Real values: float32 [B, T, O], scored by squared error.
    case values(Tensor)
}

/// What is read.
public enum SequenceInputs {
    /// float32 [B, T, I].
    case vectors(Tensor)
    /// int32 [B, T]: symbols.
    case symbols(Tensor)
}

/// Sequences with answers at some of their steps.
public struct SequenceBatch {
    /// The global lane of each sequence, [B].
    public var lanes: [Int]
    /// What is read at every step.
    public var inputs: SequenceInputs
    /// What is to be answered; steps that do not count hold anything.
    public var targets: SequenceTargets
    /// [B x T]: true where an answer counts. Steps after the end of a short sequence are false.
    public var counts: [Bool]

    /// A batch of B sequences of T steps: every part has B rows.
    public init(lanes: [Int], inputs: SequenceInputs, targets: SequenceTargets, counts: [Bool]) {
        self.lanes = lanes
        self.inputs = inputs
        self.targets = targets
        self.counts = counts
    }

    /// The answered steps among all B T, ascending.
    public var answeredRows: [Int] { counts.indices.filter { counts[$0] } }
}
