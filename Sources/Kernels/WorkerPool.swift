// The threads that a process computes with, beside the one that asks for work.

import CProcessor
import Diagnostics
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// One pool of threads for the process.
///
/// Work is divided statically: which part computes what depends on the sizes and on `count` alone, never on timing, and no part is ever stolen.
/// A call from within a part runs inline. When another thread has the pool at the moment, the caller runs all parts itself, one after the other,
/// with the same division. Bodies must not throw, block on one another, or wait for other threads. Denormal numbers are flushed to zero in every
/// part, the caller's too, so that no result depends on which thread computed it; the caller's own mode is set back.
public enum Workers {
    /// The most threads that a pool can have.
    public static let largestCount = 1024

    /// Threads that a call may use, the caller included; 1 at the start. Set between calls, by one thread. Threads are started when the number first
    /// rises and sleep when it falls.
    public static var count: Int {
        get { threadCount.load(ordering: .relaxed) }
        set { WorkerPool.shared.resize(to: newValue) }
    }

    /// Processors that this process may run on; 1 where the system does not tell.
    public static var usableProcessors: Int { max(1, WorkerPool.shared.processors.count) }

    /// Keeps the calling thread and every other thread of the pool on a processor of its own, of those that the process may run on.
    ///
    /// For ranks that a launcher has bound to processors of their own. To be called after `count` is set, by the thread that computes. Threads that
    /// this thread starts later stay on its processor.
    /// - Returns: false when nothing was pinned: fewer processors than threads, or a system that cannot.
    @discardableResult
    public static func pin() -> Bool { WorkerPool.shared.pin() }

    /// The number of the part that the calling thread runs: 0 for the first, which the caller takes, and outside any call.
    public static var index: Int { max(0, Int(mneme_thread_part())) }

    /// True within a part of a call that was divided; further calls then run inline.
    public static var isWithinPart: Bool { mneme_thread_part() >= 0 }

    /// Into how many parts `parallel` would divide a call now.
    public static func parts(_ count: Int, minimum: Int) -> Int {
        let threads = threadCount.load(ordering: .relaxed)
        if threads == 1 || isWithinPart { return count > 0 ? 1 : 0 }
        return count > 0 ? max(1, min(threads, count / max(minimum, 1))) : 0
    }

    /// Runs `body` over 0 ..< count in at most `Workers.count` consecutive ranges of at least `minimum` and nearly equal lengths, and returns
    /// when all are done. The caller takes the first. A count below 2 * `minimum` is one range, at no cost.
    ///
    /// - Complexity: one to two microseconds beside the work itself while the threads are awake; a small closure context is allocated when
    ///   the call is divided.
    public static func parallel(_ count: Int, minimum: Int, _ body: (Range<Int>) -> Void) {
        let parts = parts(count, minimum: minimum)
        if parts <= 1 {
            if count > 0 {
                let mode = mneme_processor_flush_denormals()
                body(0..<count)
                mneme_processor_restore_mode(mode)
            }
            return
        }
        withoutActuallyEscaping(body) { body in
            var call = RangeCall(count: count, parts: parts, body: body)
            withUnsafeMutablePointer(to: &call) { run(parts: parts, context: $0, runRange) }
        }
    }

    /// Runs `body` once for each of 0 ..< tasks. Thread t of T takes the t-th block of tasks in their order.
    public static func forEach(tasks: Int, _ body: (Int) -> Void) {
        parallel(tasks, minimum: 1) { range in for task in range { body(task) } }
    }

    /// The `part`-th of `parts` consecutive, nearly equal ranges of 0 ..< count.
    @inline(__always)
    public static func range(_ part: Int, of parts: Int, count: Int) -> Range<Int> { count * part / parts..<count * (part + 1) / parts }

    /// Runs `task(context, part)` for every part and returns when all are done, the first on the calling thread. Allocates nothing.
    ///
    /// - Parameters:
    ///   - parts: at most `count`.
    ///   - context: what the parts share; they may write to different places of it.
    public static func run(parts: Int, context: UnsafeMutableRawPointer, _ task: WorkerTask) {
        WorkerPool.shared.run(parts: parts, context: context, task)
    }
}

/// One part of a divided call: what the parts share, and the number of the part.
public typealias WorkerTask = @convention(c) (_ context: UnsafeMutableRawPointer, _ part: Int) -> Void

private struct RangeCall {
    let count: Int
    let parts: Int
    let body: (Range<Int>) -> Void
}

/// Never inlined, so that the body is let go of before the part counts as done.
@inline(never)
private func runRange(_ context: UnsafeMutableRawPointer, _ part: Int) {
    let call = context.assumingMemoryBound(to: RangeCall.self)
    call.pointee.body(Workers.range(part, of: call.pointee.parts, count: call.pointee.count))
}

private let threadCount = Atomic<Int>(1)

/// What one thread of the pool is told, on cache lines of its own.
private struct Slot: ~Copyable {
    /// Rises by one when there is work.
    let ticket = Atomic<Int>(0)
    let isAsleep = Atomic<Bool>(false)
    /// The processor to move to before the next task, plus one; 0 to stay.
    let processor = Atomic<Int>(0)
    var task: WorkerTask?
    var context: UnsafeMutableRawPointer?
    var part = 0
    var padding: (Int, Int, Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

/// A mutex with a condition: where a thread sleeps that has waited long enough.
private struct Bed {
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    /// Sleeps until `isAwake()`, which is called with the mutex locked.
    func sleep(until isAwake: () -> Bool) {
        pthread_mutex_lock(mutex)
        while !isAwake() { pthread_cond_wait(condition, mutex) }
        pthread_mutex_unlock(mutex)
    }

    func wake() {
        pthread_mutex_lock(mutex)
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }
}

/// The threads. Fields that are not atomic are written only by the thread that holds `isTaken`.
private final class WorkerPool: @unchecked Sendable {
    static let shared = WorkerPool()

    /// How long a thread looks for work before it sleeps: about as long as it takes to wake one up on a virtual machine.
    private static let spinNanoseconds = 100_000

    private let isTaken = Atomic<Bool>(false)
    private let slots: UnsafeMutablePointer<Slot>
    private let beds: UnsafeMutablePointer<Bed>
    /// The processors that this process could run on when the pool was made, before any thread was pinned.
    let processors: [Int32]
    /// Threads that exist, the caller's not counted.
    private var started = 0
    private var isPinned = false
    /// Whether every thread can have a processor of its own; waiting in a loop only steals time otherwise.
    private let mayLoop = Atomic<Bool>(true)

    /// Parts that are not done yet, and where the caller waits for them.
    private let remaining = Atomic<Int>(0)
    private let callerIsAsleep = Atomic<Bool>(false)
    private let callerBed = Bed()

    private init() {
        slots = .allocate(capacity: Workers.largestCount)
        beds = .allocate(capacity: Workers.largestCount)
        var numbers = [Int32](repeating: 0, count: 4096)
        let count = Int(mneme_thread_usable_processors(&numbers, Int32(numbers.count)))
        processors = Array(numbers.prefix(count))
    }

    private func take() -> Bool { isTaken.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged }
    private func giveBack() { isTaken.store(false, ordering: .releasing) }

    func resize(to count: Int) {
        require(count >= 1 && count <= Workers.largestCount, "\(count) threads, of at least 1 and at most \(Workers.largestCount)")
        require(!Workers.isWithinPart, "the number of threads cannot change within a divided call")
        while !take() { sched_yield() }
        defer { giveBack() }
        while started < count - 1 {
            (slots + started).initialize(to: Slot())
            (beds + started).initialize(to: Bed())
            guard start(started) else { break }
            started += 1
        }
        mayLoop.store(count <= Workers.usableProcessors, ordering: .relaxed)
        threadCount.store(min(count, started + 1), ordering: .relaxed)
        // A new thread runs where the one that made it may.
        if isPinned { _ = pin() }
    }

    /// Starts thread `index`; false when the system has no more threads to give.
    private func start(_ index: Int) -> Bool {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        #if canImport(Darwin)
            var thread: pthread_t?
        #else
            var thread = pthread_t()
        #endif
        // Signals go to the thread that waits for them, never to a worker.
        var (all, before) = (sigset_t(), sigset_t())
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        let number = UnsafeMutableRawPointer(bitPattern: index + 1)
        return pthread_create(
            &thread, &attributes, { argument -> UnsafeMutableRawPointer? in WorkerPool.shared.work(Int(bitPattern: argument) - 1) }, number) == 0
    }

    func pin() -> Bool {
        let threads = Workers.count
        guard processors.count >= threads, mneme_thread_pin(processors[0]) else { return false }
        isPinned = true
        for index in 0..<threads - 1 { slots[index].processor.store(Int(processors[index + 1]) + 1, ordering: .relaxed) }
        return true
    }

    func run(parts: Int, context: UnsafeMutableRawPointer, _ task: WorkerTask) {
        let outer = mneme_thread_part()
        let mode = mneme_processor_flush_denormals()
        defer {
            mneme_thread_set_part(outer)
            mneme_processor_restore_mode(mode)
        }
        guard parts > 1, outer < 0, take() else {
            // Within a part, or another thread has the pool.
            for part in 0..<parts {
                if outer < 0, parts > 1 { mneme_thread_set_part(Int32(part)) }
                task(context, part)
            }
            return
        }
        require(parts - 1 <= started, "\(parts) parts for \(started + 1) threads")
        remaining.store(parts - 1, ordering: .relaxed)
        for index in 0..<parts - 1 {
            slots[index].task = task
            slots[index].context = context
            slots[index].part = index + 1
            slots[index].ticket.add(1, ordering: .sequentiallyConsistent)
            if slots[index].isAsleep.load(ordering: .sequentiallyConsistent) { beds[index].wake() }
        }
        mneme_thread_set_part(0)
        task(context, 0)
        if !loop(until: { remaining.load(ordering: .acquiring) == 0 }) {
            callerIsAsleep.store(true, ordering: .sequentiallyConsistent)
            callerBed.sleep { remaining.load(ordering: .sequentiallyConsistent) == 0 }
            callerIsAsleep.store(false, ordering: .relaxed)
        }
        giveBack()
    }

    /// The life of thread `index`.
    private func work(_ index: Int) -> Never {
        Kernels.flushDenormals()
        var done = 0
        while true {
            if !loop(until: { slots[index].ticket.load(ordering: .acquiring) != done }) {
                slots[index].isAsleep.store(true, ordering: .sequentiallyConsistent)
                beds[index].sleep { slots[index].ticket.load(ordering: .sequentiallyConsistent) != done }
                slots[index].isAsleep.store(false, ordering: .relaxed)
            }
            done += 1
            let processor = slots[index].processor.exchange(0, ordering: .relaxed)
            if processor != 0 { _ = mneme_thread_pin(Int32(processor - 1)) }
            if let task = slots[index].task, let context = slots[index].context {
                mneme_thread_set_part(Int32(slots[index].part))
                task(context, slots[index].part)
                mneme_thread_set_part(-1)
            }
            if remaining.subtract(1, ordering: .sequentiallyConsistent).newValue == 0, callerIsAsleep.load(ordering: .sequentiallyConsistent) {
                callerBed.wake()
            }
        }
    }

    /// Waits in a loop for `isTrue`; false when that takes longer than it is worth.
    @inline(__always)
    private func loop(until isTrue: () -> Bool) -> Bool {
        if isTrue() { return true }
        guard mayLoop.load(ordering: .relaxed) else { return false }
        let start = Self.now
        while true {
            for _ in 0..<32 {
                mneme_processor_pause()
                if isTrue() { return true }
            }
            if Self.now &- start > Self.spinNanoseconds { return false }
        }
    }

    /// Nanoseconds since some moment.
    private static var now: Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int(time.tv_sec) &* 1_000_000_000 &+ Int(time.tv_nsec)
    }
}
