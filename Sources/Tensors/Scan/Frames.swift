// Where the state of each sequence lies between two steps, and what a step keeps for its gradient.
//
// Legend: B sequences, T steps, L steps of a segment.

import Kernels

/// The places of named parts within a frame, in elements. Every part begins on 64 bytes, and those of the state come first: a gradient of the state
/// has the same places.
package struct FrameLayout {
    /// How a part of the state lies in a frame.
    package struct Part {
        package let state: StatePart
        package let place: Int
        package let rows: Int
        package let columns: Int
        /// Elements between two rows, or between two columns where the part lies by columns.
        package let stride: Int
        package let liesByColumns: Bool
        /// What the part starts with: a value for each element, [rows, columns]; `nil` for zeros.
        package let initial: [Float]?
    }

    /// The parts of the state that people see.
    package private(set) var parts: [Part] = []
    /// Elements of the state.
    package private(set) var stateCount = 0
    /// Elements of a frame.
    package private(set) var count = 0

    package init() {}

    /// Makes room for what a step leaves for its gradient, or for a part of the state that nobody sees.
    package mutating func place(_ elements: Int) -> Int {
        defer { count += (elements + 15) / 16 * 16 }
        return count
    }

    /// Makes room for a part of the state.
    ///
    /// - Parameters:
    ///   - rows: its extents for one sequence are [rows, columns]; `isVector`: [columns], with one row.
    ///   - stride: from row to row, or from column to column where it lies by columns; what is between holds zeros.
    ///   - padded: rows (or columns) to make room for; those beyond its own hold zeros.
    package mutating func place(
        _ name: String, rows: Int = 1, _ columns: Int, stride: Int, padded: Int? = nil, liesByColumns: Bool = false, isVector: Bool = false,
        initial: [Float]? = nil
    ) -> Int {
        let place = place((padded ?? (liesByColumns ? columns : rows)) * stride)
        let shape: Shape = isVector ? [columns] : [rows, columns]
        parts.append(
            Part(
                state: StatePart(name, shape), place: place, rows: rows, columns: columns, stride: stride, liesByColumns: liesByColumns,
                initial: initial))
        return place
    }

    /// Ends the state: what is placed from now on is what a step leaves for its gradient.
    package mutating func endState() { stateCount = count }

    /// The parts as a cell names them.
    package var state: [StatePart] { parts.map(\.state) }

    /// Copies a part of sequence b of `tensor`, [B, rows, columns], to its place in a frame, which holds zeros there.
    func store(_ part: Part, _ tensor: Tensor, _ b: Int, _ frame: UnsafeMutablePointer<Float>) {
        store(part, tensor.floats + b * part.rows * part.columns, frame)
    }

    func store(_ part: Part, _ source: UnsafePointer<Float>, _ frame: UnsafeMutablePointer<Float>) {
        let target = frame + part.place
        for row in 0..<part.rows {
            if part.liesByColumns {
                for column in 0..<part.columns { target[column * part.stride + row] = source[row * part.columns + column] }
            } else {
                (target + row * part.stride).update(from: source + row * part.columns, count: part.columns)
            }
        }
    }

    /// The other way: a part of all frames' states as a tensor, [B, shape...].
    func load(_ part: Part, batch: Int, _ frame: (_ b: Int) -> UnsafeMutablePointer<Float>) -> Tensor {
        let result = Tensor(uninitialized: Shape([batch] + part.state.shape.array))
        for b in 0..<batch {
            let (source, target) = (frame(b) + part.place, result.floats + b * part.rows * part.columns)
            for row in 0..<part.rows {
                if part.liesByColumns {
                    for column in 0..<part.columns { target[row * part.columns + column] = source[column * part.stride + row] }
                } else {
                    (target + row * part.columns).update(from: source + row * part.stride, count: part.columns)
                }
            }
        }
        return result
    }
}

/// What a scan keeps of its frames for the backward pass.
package enum FramePolicy: Sendable {
    /// Those of all steps.
    case all
    /// Those of a segment of about sqrt(T) steps, and the state before each segment; the others are computed again.
    case segments
    /// None: there is no backward pass.
    case none
}

/// The frames of B sequences: frame t holds the state before step t, and how step t - 1 came to it.
package struct Frames {
    package let layout: FrameLayout
    private let policy: FramePolicy
    private let batch: Int
    private let steps: Int
    /// L.
    private let segment: Int
    /// [slots, B, frame].
    private let memory: Tensor
    /// [segments, B, state]: the state before each segment.
    private let checkpoints: Tensor?

    /// - Precondition: T is at least 1.
    package init(_ layout: FrameLayout, _ policy: FramePolicy, batch: Int, steps: Int) {
        (self.layout, self.policy, self.batch, self.steps) = (layout, policy, batch, steps)
        segment = policy == .segments ? max(1, Int(Double(steps).squareRoot().rounded(.up))) : steps
        memory = Tensor(uninitialized: [policy == .none ? 2 : segment + 1, batch, layout.count])
        checkpoints = policy == .segments ? Tensor(uninitialized: [(steps + segment - 1) / segment, batch, layout.stateCount]) : nil
    }

    @inline(__always)
    private func start(of t: Int) -> Int { policy == .segments ? t / segment * segment : 0 }

    @inline(__always)
    private func slot(_ slot: Int, _ b: Int) -> UnsafeMutablePointer<Float> { memory.floats + (slot * batch + b) * layout.count }

    /// The frame that step t starts from.
    @inline(__always)
    package func before(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { slot(policy == .none ? t & 1 : t - start(of: t), b) }

    /// The frame that step t leaves.
    @inline(__always)
    package func after(_ t: Int, _ b: Int) -> UnsafeMutablePointer<Float> { slot(policy == .none ? (t + 1) & 1 : t + 1 - start(of: t), b) }

    /// Puts the parts of an initial state, or what they start with, into the first frames.
    func placeInitial(_ state: CellState) {
        for b in 0..<batch {
            let frame = before(0, b)
            frame.update(repeating: 0, count: layout.stateCount)
            for part in layout.parts {
                if let tensor = state[part.state.name] {
                    layout.store(part, tensor, b, frame)
                } else if let initial = part.initial {
                    initial.withUnsafeBufferPointer { layout.store(part, $0.baseAddress.unsafelyUnwrapped, frame) }
                }
            }
        }
    }

    /// Before step t of the forward pass: begins a segment where one begins.
    package func begin(_ t: Int) {
        guard let checkpoints, t % segment == 0 else { return }
        for b in 0..<batch {
            if t > 0 { before(t, b).update(from: after(t - 1, b), count: layout.stateCount) }
            (checkpoints.floats + (t / segment * batch + b) * layout.stateCount).update(from: before(t, b), count: layout.stateCount)
        }
    }

    /// Before step t of the backward pass: the steps whose frames must be computed again, from the state that is put back; empty where all are there.
    package func repeated(before t: Int) -> Range<Int> {
        let first = start(of: t)
        guard let checkpoints, t < steps - 1, t == first + segment - 1 else { return 0..<0 }
        for b in 0..<batch {
            before(first, b).update(from: checkpoints.floats + (first / segment * batch + b) * layout.stateCount, count: layout.stateCount)
        }
        return first..<t + 1
    }

    /// The parts of the state after the last step.
    package func lastState() -> CellState {
        var state = CellState()
        for part in layout.parts { state[part.state.name] = layout.load(part, batch: batch) { after(steps - 1, $0) } }
        return state
    }
}
