// What a tape keeps: its entries, in memory that is used again by the next tape.

import Synchronization

/// The entries of a tape, in memory that nodes point to, so that recording an operation counts no reference to the tape.
///
/// Recordings are never freed: the next tape takes the one that the last tape has left, with room for as many entries and with its
/// nodes. So tapes of equal steps ask nothing of the system, and a value that outlives its tape points to valid memory.
struct Recording: ~Copyable {
    struct Entry {
        let output: Node
        let backward: (Tensor) -> Void
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

    /// Adds an operation with the result `value`, which gets a node. `recording` is the address of this recording.
    @inline(__always)
    mutating func append(_ value: inout Tensor, _ recording: UnsafeMutablePointer<Recording>, _ backward: consuming @escaping (Tensor) -> Void) {
        if count == capacity { grow() }
        let node: Node
        if spareCount > 0 {
            spareCount -= 1
            node = (spareNodes + spareCount).move()
            node.reuse(shape: value.shape, dataType: value.dataType)
        } else {
            node = Node(recording, shape: value.shape, dataType: value.dataType)
        }
        value.node = node
        (entries + count).initialize(to: Entry(output: node, backward: backward))
        count += 1
    }

    /// Takes the last entry off.
    @inline(__always)
    mutating func removeLast() -> Entry {
        count -= 1
        return (entries + count).move()
    }

    /// Keeps a node for another entry if nobody else holds it.
    @inline(__always)
    mutating func keep(_ node: consuming Node) {
        // Entries and spare nodes together are never more than the capacity.
        if isKnownUniquelyReferenced(&node) {
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
        generation &+= 1
    }

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
