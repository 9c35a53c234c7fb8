// What a tape keeps: its entries, in memory that is used again by the next tape.

import Synchronization

/// The entries of a tape, in memory that nodes point to, so that recording an operation counts no reference to the tape.
///
/// Recordings are never freed: the next tape takes the one that the last tape has left, with room for as many entries and with its
/// nodes. So tapes of equal steps ask nothing of the system, and a value that outlives its tape points to valid memory.
struct Recording: ~Copyable {
    private struct Entry {
        let operation: Operation
        /// The first output.
        let output: Node
        let backward: Backward
    }

    private enum Backward {
        case one((Tensor) -> Void)
        case several(SeveralOutputs)
    }

    /// What an entry of several outputs has beside the first.
    private final class SeveralOutputs {
        var others: [Node]
        let backward: ([Tensor?]) -> Void

        init(_ others: [Node], _ backward: @escaping ([Tensor?]) -> Void) { (self.others, self.backward) = (others, backward) }
    }

    /// A parameter's first use: its gradient is complete once that entry has run backwards.
    private struct Completion {
        let entry: Int
        let parameter: Parameter
    }

    /// The number of tapes that had this memory.
    private(set) var generation: UInt32 = 0
    /// The number of entries.
    private(set) var count = 0
    private var capacity = 256
    private var entries = UnsafeMutablePointer<Entry>.allocate(capacity: 256)
    /// Nodes of earlier entries that nobody else holds.
    private var spareNodes = UnsafeMutablePointer<Node>.allocate(capacity: 256)
    private var spareCount = 0
    /// By rising entry.
    private var completions: [Completion] = []
    /// The next spare recording.
    fileprivate var next: UnsafeMutablePointer<Recording>?

    fileprivate init() {}

    /// Watches the operations.
    var observer: (any OperationObserver)?

    /// Adds an operation with the result `value`, which gets a node. `recording` is the address of this recording.
    @inline(__always)
    mutating func append(
        _ operation: Operation, _ value: inout Tensor, _ recording: UnsafeMutablePointer<Recording>, _ backward: consuming @escaping (Tensor) -> Void
    ) {
        let node = makeNode(value, recording)
        value.node = node
        push(Entry(operation: operation, output: node, backward: .one(backward)))
        if let observer { observer.recorded(operation, [value]) }
    }

    /// Adds an operation with several results, which get a node each.
    mutating func append(
        _ operation: Operation, _ values: inout [Tensor], _ recording: UnsafeMutablePointer<Recording>,
        _ backward: consuming @escaping ([Tensor?]) -> Void
    ) {
        for index in values.indices { values[index].node = makeNode(values[index], recording) }
        let nodes = values.compactMap(\.node)
        push(Entry(operation: operation, output: nodes[0], backward: .several(SeveralOutputs(Array(nodes.dropFirst()), backward))))
        if let observer { observer.recorded(operation, values) }
    }

    @inline(__always)
    private mutating func makeNode(_ value: borrowing Tensor, _ recording: UnsafeMutablePointer<Recording>) -> Node {
        guard spareCount > 0 else { return Node(recording, shape: value.shape, dataType: value.dataType) }
        spareCount -= 1
        let node = (spareNodes + spareCount).move()
        node.reuse(shape: value.shape, dataType: value.dataType)
        return node
    }

    @inline(__always)
    private mutating func push(_ entry: consuming Entry) {
        if count == capacity { grow() }
        (entries + count).initialize(to: entry)
        count += 1
    }

    /// Takes the last entry off and runs it backwards if a gradient has arrived. Not a member that mutates: the entry itself is free to use the tape.
    @inline(__always)
    static func runLast(of recording: UnsafeMutablePointer<Recording>) {
        let entry = recording.pointee.removeLast()
        let observer = recording.pointee.observer
        let gradient = entry.output.takeGathered()
        switch entry.backward {
        case .one(let backward):
            guard let gradient else { break }
            observer?.startsBackward(entry.operation)
            backward(gradient)
            observer?.finishedBackward(entry.operation)
        case .several(let outputs):
            let gradients = [gradient] + outputs.others.map { $0.takeGathered() }
            if gradients.contains(where: { $0 != nil }) {
                observer?.startsBackward(entry.operation)
                outputs.backward(gradients)
                observer?.finishedBackward(entry.operation)
            }
            while let node = outputs.others.popLast() { recording.pointee.keep(node) }
        }
        recording.pointee.keep(entry.output)
    }

    @inline(__always)
    private mutating func removeLast() -> Entry {
        count -= 1
        return (entries + count).move()
    }

    /// Keeps a node for another entry if nobody else holds it.
    @inline(__always)
    mutating func keep(_ node: consuming Node) {
        if spareCount < capacity, isKnownUniquelyReferenced(&node) {
            (spareNodes + spareCount).initialize(to: node)
            spareCount += 1
        }
    }

    /// Notes that the next entry is the first to use `parameter`.
    @inline(never)
    mutating func noteFirstUse(of parameter: Parameter) {
        completions.append(Completion(entry: count, parameter: parameter))
    }

    /// A parameter that is complete now that the entries from `count` on have run, removed from the list.
    @inline(__always)
    mutating func nextCompletion() -> Parameter? {
        guard let last = completions.last, last.entry == count else { return nil }
        completions.removeLast()
        return last.parameter
    }

    /// Forgets all entries, for the next tape.
    mutating func clear() {
        while count > 0 {
            let output = removeLast().output
            output.gathered = nil
            keep(output)
        }
        completions.removeAll(keepingCapacity: true)
        observer = nil
        retire()
    }

    /// Makes the values that are on it useless to operations: their tape has run backwards, or is gone.
    mutating func retire() { generation &+= 1 }

    @inline(never)
    private mutating func grow() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: 2 * capacity)
        larger.moveInitialize(from: entries, count: count)
        entries.deallocate()
        entries = larger
        let moreNodes = UnsafeMutablePointer<Node>.allocate(capacity: 2 * capacity)
        moreNodes.moveInitialize(from: spareNodes, count: spareCount)
        spareNodes.deallocate()
        spareNodes = moreNodes
        capacity *= 2
    }
}

/// Recordings that no tape uses, of all threads.
enum SpareRecordings {
    private struct List: @unchecked Sendable {
        var first: UnsafeMutablePointer<Recording>?
    }

    private static let list = Mutex(List())

    static func take() -> UnsafeMutablePointer<Recording> {
        let spare = list.withLock { list in
            let first = list.first
            list.first = first?.pointee.next
            return first
        }
        if let spare { return spare }
        let recording = UnsafeMutablePointer<Recording>.allocate(capacity: 1)
        recording.initialize(to: Recording())
        return recording
    }

    static func put(_ recording: UnsafeMutablePointer<Recording>) {
        list.withLock { list in
            recording.pointee.next = list.first
            list.first = recording
        }
    }
}
