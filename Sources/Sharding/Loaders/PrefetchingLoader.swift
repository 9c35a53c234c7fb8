// Shards mapped and checked ahead of the loop, by a thread of their own.

import Corpora
import Foundation

/// The batches of a loader, whose data another thread has looked at some steps before they are asked for.
///
/// The thread walks a second loader over the same data ahead and reads what the loop will read: shards are opened, compared with their checksums and
/// brought into memory there. It decides nothing: order, batches and positions are the loader's own, bit for bit, and what is wrong with a shard
/// is thrown by the step that needs it, the same one on every run.
public final class PrefetchingLoader<Base: LaneLoader>: LaneLoader {
    private let base: Base
    private let scout: Scout

    /// - Parameters:
    ///   - base: what is handed out.
    ///   - twin: another loader over the same data, in the same order; it belongs to the thread from here on.
    ///   - lanes: those that will be asked for.
    ///   - steps: how far the thread goes ahead, at least 1.
    public init(_ base: Base, twin: Base, lanes: [Int], steps: Int = 16) {
        precondition(steps >= 1, "\(steps) steps ahead")
        self.base = base
        scout = Scout(steps: steps)
        let walker = Walker(
            seek: { try twin.seek(to: $0) },
            read: {
                _ = try twin.batch(lanes: lanes)
                try twin.advance()
            })
        scout.start(walker, from: base.position)
    }

    deinit {
        scout.end()
    }

    public var laneCount: Int { base.laneCount }
    public var position: LoaderPosition { base.position }

    public func seek(to position: LoaderPosition) throws {
        try base.seek(to: position)
        scout.move(to: base.position)
    }

    public func batch(lanes: [Int]) throws -> Base.Batch { try base.batch(lanes: lanes) }

    public func advance() throws {
        try base.advance()
        scout.follow(base.position)
    }

    /// Waits until the thread is as far ahead as it may be, or has met what is wrong.
    package func waitForPrefetch() { scout.waitUntilIdle() }
}

/// What the thread does; only the thread calls it.
private struct Walker: @unchecked Sendable {
    let seek: (LoaderPosition) throws -> Void
    /// Reads a step and goes on to the next.
    let read: () throws -> Void
}

/// The thread that goes ahead, and how far it may go.
private final class Scout: @unchecked Sendable {
    private let steps: Int
    private let condition = NSCondition()
    /// Where to begin anew; taken by the thread.
    private var start: LoaderPosition?
    /// Steps that the thread is ahead of the loop.
    private var ahead = 0
    /// Set where the thread can go no further until it is moved.
    private var isStuck = false
    private var isEnding = false
    private var isReading = false
    private let ended = DispatchSemaphore(value: 0)

    init(steps: Int) { self.steps = steps }

    func start(_ walker: Walker, from position: LoaderPosition) {
        start = position
        let thread = Thread { [self] in
            run(walker)
            ended.signal()
        }
        thread.name = "shards ahead"
        thread.start()
    }

    func move(to position: LoaderPosition) {
        condition.withLock {
            (start, ahead, isStuck) = (position, 0, false)
            condition.broadcast()
        }
    }

    /// The loop has gone on by a step. A thread that it has overtaken begins anew from there.
    func follow(_ position: @autoclosure () -> LoaderPosition) {
        condition.withLock {
            if ahead > 0 { ahead -= 1 } else { (start, isStuck) = (position(), false) }
            condition.broadcast()
        }
    }

    /// Ends the thread and waits for it: nothing reads files behind the back of a process that ends.
    func end() {
        condition.withLock {
            isEnding = true
            condition.broadcast()
        }
        ended.wait()
    }

    func waitUntilIdle() {
        condition.withLock { while isReading || start != nil || !isStuck && ahead < steps { condition.wait() } }
    }

    private func run(_ walker: Walker) {
        while let task = next() {
            do {
                if case .begin(let position) = task { try walker.seek(position) }
                try walker.read()
                finish(isStuck: false)
            } catch {
                // The loop comes to the same and throws it.
                finish(isStuck: true)
            }
        }
    }

    private enum Task {
        case begin(LoaderPosition), goOn
    }

    /// Waits for something to do; `nil` at the end.
    private func next() -> Task? {
        condition.withLock {
            while !isEnding, start == nil, isStuck || ahead >= steps { condition.wait() }
            if isEnding { return nil }
            isReading = true
            defer { start = nil }
            return start.map { .begin($0) } ?? .goOn
        }
    }

    private func finish(isStuck: Bool) {
        condition.withLock {
            isReading = false
            // What was read before a move does not count.
            if start == nil {
                self.isStuck = isStuck
                if !isStuck { ahead += 1 }
            }
            condition.broadcast()
        }
    }
}
