// What the ranks of a loopback world share: the collectives under way, the messages under way, and who has left.

import Diagnostics
import Foundation

/// One collective of a loopback world. All members are guarded by the world's lock.
final class LoopbackOperation {
    enum Kind: Equatable {
        case barrier
        case reduceFloats(count: Int, Reduction)
        case reduceDoubles(count: Int, Reduction)
        case reduceIntegers(count: Int, Reduction)
        case broadcast(count: Int, root: Int)
        case gather
    }

    let kind: Kind
    let firstRank: Int
    fileprivate(set) var gathered: [[UInt8]]
    fileprivate var contributions: [UnsafeMutableRawBufferPointer?]
    fileprivate var isComplete = false

    fileprivate init(_ kind: Kind, firstRank: Int, size: Int) {
        self.kind = kind
        self.firstRank = firstRank
        gathered = Array(repeating: [], count: size)
        contributions = Array(repeating: nil, count: size)
    }

    /// Does the work once every rank has contributed.
    fileprivate func execute() {
        switch kind {
        case .barrier, .gather: break
        case .reduceFloats(_, let reduction): reduce(Float.self, reduction) { $0 + $1 }
        case .reduceDoubles(_, let reduction): reduce(Double.self, reduction) { $0 + $1 }
        case .reduceIntegers(_, let reduction): reduce(Int64.self, reduction) { $0 &+ $1 }
        case .broadcast(_, let root):
            let buffers = contributions.compactMap { $0 }
            for rank in buffers.indices where rank != root { buffers[rank].copyMemory(from: UnsafeRawBufferPointer(buffers[root])) }
        }
        isComplete = true
    }

    /// Element by element, in the order of ranks, into every rank's buffer.
    private func reduce<Scalar: Comparable>(_ type: Scalar.Type, _ reduction: Reduction, _ sum: (Scalar, Scalar) -> Scalar) {
        let buffers = contributions.compactMap { $0?.bindMemory(to: Scalar.self) }
        for index in buffers[0].indices {
            var value = buffers[0][index]
            for buffer in buffers.dropFirst() {
                switch reduction {
                case .sum: value = sum(value, buffer[index])
                case .minimum: value = min(value, buffer[index])
                case .maximum: value = max(value, buffer[index])
                }
            }
            for buffer in buffers { buffer[index] = value }
        }
    }
}

/// The shared state of a loopback world; every access holds the condition's lock.
final class LoopbackWorld: @unchecked Sendable {
    let size: Int
    private let condition = NSCondition()
    /// Collectives that not every rank has contributed to.
    private var open: [Int: LoopbackOperation] = [:]
    private struct Box: Hashable { let sender, receiver, tag: Int }
    /// Messages under way, oldest first.
    private var messages: [Box: [[UInt8]]] = [:]
    private var hasLeft: [Bool]
    /// Ranks that are about to leave without a word: what they have contributed lies in memory that may be gone.
    private var isFalling: Set<Int> = []
    private var hasFailed: [Bool]
    /// Ranks that were told that another one is lost: their own failure is a consequence.
    private var wasTold: [Bool]
    /// Agreements of ranks that outlive others: what each has said, by number.
    private var agreements: [Int: [Int: Bool]] = [:]
    private var decided: [Int: Bool] = [:]
    /// Whether the ranks that are left have begun to leave: nobody else's call goes on.
    private var isRevoked = false
    private var successor: (world: LoopbackWorld, ranks: [Int])?
    private var leaving: Set<Int> = []

    init(size: Int) {
        self.size = size
        hasLeft = Array(repeating: false, count: size)
        hasFailed = hasLeft
        wasTold = hasLeft
    }

    /// The lowest rank that failed by itself.
    var firstCulprit: Int? {
        condition.withLock { (0..<size).first { hasFailed[$0] && !wasTold[$0] } }
    }

    /// Keeps collectives that a rank has contributed to from being done: it leaves soon.
    func fall(_ rank: Int) { condition.withLock { _ = isFalling.insert(rank) } }

    func leave(_ rank: Int, failed: Bool) {
        condition.withLock {
            hasLeft[rank] = true
            hasFailed[rank] = failed
            condition.broadcast()
        }
    }

    func waitUntilAllLeft() {
        condition.withLock {
            while hasLeft.contains(false) { condition.wait() }
        }
    }

    // MARK: Lost ranks

    /// Whether all ranks that live say that all is well, and none is lost. The same answer on all of them.
    func agrees(_ isWell: Bool, rank: Int, sequence: Int) -> Bool {
        condition.withLock {
            agreements[sequence, default: [:]][rank] = isWell
            condition.broadcast()
            while true {
                if let answer = decided[sequence] { return answer }
                let said = agreements[sequence] ?? [:]
                if (0..<size).allSatisfy({ hasLeft[$0] || said[$0] != nil }) {
                    decided[sequence] = !hasLeft.contains(true) && said.values.allSatisfy { $0 }
                    condition.broadcast()
                } else {
                    condition.wait()
                }
            }
        }
    }

    /// Ends everybody's calls: the ranks that are left begin to leave.
    func revoke() {
        condition.withLock {
            isRevoked = true
            condition.broadcast()
        }
    }

    /// The world of those who are left, and their numbers in this one, once all of them have asked.
    func successor(rank: Int) throws -> (world: LoopbackWorld, ranks: [Int]) {
        try condition.withLock {
            leaving.insert(rank)
            condition.broadcast()
            while true {
                if let successor { return successor }
                let living = (0..<size).filter { !hasLeft[$0] }
                if living.allSatisfy(leaving.contains) {
                    guard living.count < size else { throw UserError(.unavailable, "no rank is lost", at: "rank \(rank)") }
                    successor = (LoopbackWorld(size: living.count), living)
                    condition.broadcast()
                } else {
                    condition.wait()
                }
            }
        }
    }

    private func requireWhole(rank: Int) throws {
        guard isRevoked else { return }
        wasTold[rank] = true
        throw UserError(.unavailable, "a rank is lost, and the others leave", at: "rank \(rank)")
    }

    // MARK: Collectives and messages

    func contribute(
        _ kind: LoopbackOperation.Kind, _ bytes: UnsafeMutableRawBufferPointer, _ gathered: [UInt8], rank: Int, sequence: Int
    ) throws -> LoopbackOperation {
        try condition.withLock {
            try requireWhole(rank: rank)
            let operation = open[sequence] ?? LoopbackOperation(kind, firstRank: rank, size: size)
            guard operation.kind == kind else {
                let first = "rank \(operation.firstRank) calls \(operation.kind)"
                throw UserError(.unavailable, "rank \(rank) calls \(kind) where \(first)", at: "rank \(rank)")
            }
            operation.contributions[rank] = bytes
            operation.gathered[rank] = gathered
            open[sequence] = operation
            if !operation.contributions.contains(where: { $0 == nil }), !hasLeft.contains(true), isFalling.isEmpty {
                operation.execute()
                open[sequence] = nil
                condition.broadcast()
            }
            return operation
        }
    }

    func isComplete(_ operation: LoopbackOperation, rank: Int) throws -> Bool {
        try condition.withLock {
            if !operation.isComplete {
                try requireWhole(rank: rank)
                try checkForLostRanks(operation, rank: rank)
            }
            return operation.isComplete
        }
    }

    func wait(for operation: LoopbackOperation, rank: Int) throws {
        try condition.withLock {
            while !operation.isComplete {
                try requireWhole(rank: rank)
                try checkForLostRanks(operation, rank: rank)
                condition.wait()
            }
        }
    }

    func send(_ bytes: [UInt8], from sender: Int, to receiver: Int, tag: Int) {
        condition.withLock {
            messages[Box(sender: sender, receiver: receiver, tag: tag), default: []].append(bytes)
            condition.broadcast()
        }
    }

    /// The oldest message between two ranks; `nil` when there is none and it is not waited for.
    func received(from sender: Int, to receiver: Int, tag: Int, waits: Bool) throws -> [UInt8]? {
        try condition.withLock {
            let box = Box(sender: sender, receiver: receiver, tag: tag)
            while true {
                if let first = messages[box]?.first {
                    messages[box]?.removeFirst()
                    if messages[box]?.isEmpty == true { messages[box] = nil }
                    return first
                }
                try requireWhole(rank: receiver)
                if hasLeft[sender] { throw lost(sender, seenBy: receiver, during: "exchange") }
                guard waits else { return nil }
                condition.wait()
            }
        }
    }

    private func checkForLostRanks(_ operation: LoopbackOperation, rank: Int) throws {
        if let missing = (0..<size).first(where: { hasLeft[$0] }) {
            throw lost(missing, seenBy: rank, during: "\(operation.kind)")
        }
    }

    private func lost(_ missing: Int, seenBy rank: Int, during call: String) -> UserError {
        wasTold[rank] = hasFailed[missing]
        return UserError(.unavailable, "rank \(missing) has ended while rank \(rank) waits for it in \(call)", at: "rank \(rank)")
    }
}
