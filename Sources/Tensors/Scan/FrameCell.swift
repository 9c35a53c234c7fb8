// Cells whose state lies in frames: one step of one sequence at a time.
//
// Legend: B sequences, T steps, P numbers that a step is given, F numbers that it puts out.

import Kernels

/// A memory that is stepped for one sequence at a time: a value without state of its own. Everything is float32.
///
/// Its parts, and what a step leaves for its gradient, have their places in a frame (`layout`). `FrameScan` steps it over given numbers; a
/// controller that reads what it puts out steps it in `MemoryScan`.
package protocol FrameCell {
    /// What it is called on the tape.
    var operation: Operation { get }
    /// The places of a frame.
    var layout: FrameLayout { get }
    /// P.
    var inputWidth: Int { get }
    /// F.
    var outputWidth: Int { get }
    /// Heads that what is put out comes apart into; a divisor of F.
    var readHeads: Int { get }
    /// Elements of scratch memory for one sequence, which holds zeros before the first step.
    var scratchCount: Int { get }

    /// Writes what depends on the rest of an initial state.
    func completeState(_ state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>)
    /// Computes the frame `next` and what is put out, [F], from the frame `previous` and the numbers that the step is given, [P].
    func step(
        _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>, _ input: UnsafePointer<Float>,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>)
    /// Goes back through a step. `gradient`: of the state after it, [state], becomes that of the state before it. `input`: what the step was given,
    /// becomes its gradient. `outputGradient`: [F].
    func stepGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>,
        _ input: UnsafeMutablePointer<Float>, outputGradient: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>)
}

extension FrameCell {
    package var readHeads: Int { 1 }
    package func completeState(_ state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>) {}
}

/// A frame cell at work: its frames, and the gradients of its state.
package struct FrameSteps<Memory: FrameCell> {
    package let memory: Memory
    package let frames: Frames
    package let initialState: CellState
    private let batch: Int
    /// Sequences that are worth a thread.
    private let minimum: Int
    /// [B, scratch].
    private let scratch: Tensor
    /// [B, state]; made when the backward pass starts.
    private var stateGradient: Tensor?

    package init(_ memory: Memory, from state: CellState, _ policy: FramePolicy, batch: Int, steps: Int, operationsPerStep: Int) {
        (self.memory, initialState, self.batch) = (memory, state, batch)
        minimum = max(1, (1 << 14) / max(1, operationsPerStep))
        frames = Frames(memory.layout, policy, batch: batch, steps: steps)
        scratch = Tensor(zeros: [batch, max(1, memory.scratchCount)])
        frames.placeInitial(state)
        for b in 0..<batch { memory.completeState(frames.before(0, b), scratch: scratch(b)) }
    }

    @inline(__always)
    private func scratch(_ b: Int) -> UnsafeMutablePointer<Float> { scratch.floats + b * scratch.shape[1] }

    /// Runs `body` on ranges of the B sequences of a step. A sequence's step is the same work whichever thread does it.
    @inline(__always)
    package func forSequences(_ body: (Range<Int>) -> Void) { Workers.parallel(batch, minimum: minimum, body) }

    /// Step t of sequence b.
    @inline(__always)
    package func step(_ t: Int, _ b: Int, _ input: UnsafePointer<Float>, output: UnsafeMutablePointer<Float>) {
        memory.step(frames.after(t, b), from: frames.before(t, b), input, output: output, scratch: scratch(b))
    }

    /// Before step t of the backward pass: computes the frames again that were not kept.
    package func repeatFrames(
        before t: Int, _ input: (_ t: Int, _ b: Int) -> UnsafePointer<Float>, output: (_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float>
    ) {
        let range = frames.repeated(before: t)
        if range.isEmpty { return }
        forSequences { sequences in
            for b in sequences { for t in range { step(t, b, input(t, b), output: output(t, b)) } }
        }
    }

    /// Takes the gradients of the state after the last step.
    package mutating func startBackward(_ lastState: CellState) {
        let layout = memory.layout
        let gradient = Tensor(zeros: [batch, layout.stateCount])
        for part in layout.parts {
            guard let given = lastState[part.state.name] else { continue }
            for b in 0..<batch { layout.store(part, given, b, gradient.floats + b * layout.stateCount) }
        }
        stateGradient = gradient
    }

    /// Goes back through step t of sequence b.
    @inline(__always)
    package func stepGradient(_ t: Int, _ b: Int, _ input: UnsafeMutablePointer<Float>, outputGradient: UnsafePointer<Float>) {
        guard let stateGradient else { preconditionFailure("the backward pass has not started") }
        memory.stepGradient(
            stateGradient.floats + b * memory.layout.stateCount, frames.after(t, b), from: frames.before(t, b), input, outputGradient: outputGradient,
            scratch: scratch(b))
    }

    /// Adds the gradients of the initial state.
    package func finishBackward() {
        guard let stateGradient else { return }
        for part in memory.layout.parts {
            guard let node = initialState[part.state.name]?.node else { continue }
            node.accumulate(memory.layout.load(part, batch: batch) { stateGradient.floats + $0 * memory.layout.stateCount })
        }
    }
}

/// A frame cell over numbers that are given for all steps: [B, T, P] to [B, T, F].
package final class FrameScan<Memory: FrameCell>: Cell {
    private var work: FrameSteps<Memory>
    private let x: Tensor
    /// [B, T, P]: the numbers; with a backward pass a copy, which their gradients replace.
    private let values: Tensor
    /// [B, F]: what steps put out that are computed again.
    private let unwanted: Tensor
    package let batch: Int
    package let steps: Int

    /// - Parameters:
    ///   - x: [B, T, P], float32.
    ///   - state: what it starts from.
    ///   - policy: which frames are kept.
    ///   - operationsPerStep: about so many for one sequence, for the division among threads.
    package init(_ memory: Memory, _ x: Tensor, from state: CellState, _ policy: FramePolicy, operationsPerStep: Int) {
        memory.operation.require(
            x.shape.rank == 3 && x.shape[1] > 0 && x.shape[2] == memory.inputWidth, "input \(x.shape) is not [B, T, \(memory.inputWidth)] with a step")
        (self.x, batch, steps) = (x, x.shape[0], x.shape[1])
        values = policy == .none ? x.stopGradient() : x.copied()
        unwanted = Tensor(uninitialized: [batch, memory.outputWidth])
        work = FrameSteps(memory, from: state, policy, batch: batch, steps: steps, operationsPerStep: operationsPerStep)
    }

    package var operation: Operation { work.memory.operation }
    package var outputWidth: Int { work.memory.outputWidth }
    package var outputType: DataType { .float32 }
    package var state: [StatePart] { work.memory.layout.state }
    package var initialState: CellState { work.initialState }
    package var inputs: [Tensor] { [x] }

    @inline(__always)
    private func value(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { values.floats + (b * steps + t) * work.memory.inputWidth }

    package func step(_ t: Int, into outputs: StepRows) {
        work.frames.begin(t)
        work.forSequences { range in for b in range { work.step(t, b, value(t, b), output: outputs.floats(b)) } }
    }

    package func lastState(_ outputs: Tensor) -> CellState { work.frames.lastState() }
    package func startBackward(_ lastState: CellState) { work.startBackward(lastState) }

    package func stepBackward(_ t: Int, from outputs: StepRows) {
        work.repeatFrames(before: t, { UnsafePointer(value($0, $1)) }, output: { unwanted.floats + $1 * outputWidth })
        work.forSequences { range in for b in range { work.stepGradient(t, b, value(t, b), outputGradient: outputs.floats(b)) } }
    }

    package func finishBackward() {
        x.node?.accumulate(values)
        work.finishBackward()
    }
}
