// Memory for tensors: blocks that are kept and reused, because fresh pages cost more than arithmetic.

import CProcessor
import Foundation
import Synchronization

/// Keeps freed blocks by size class and hands them out again.
///
/// A training step asks for the same sizes every time, so after the second step nothing is asked of the system any more.
/// Sizes are rounded up to four classes per doubling: at most a fifth of a block is unused. Blocks start on 64 bytes;
/// blocks of 2 MiB and more start on 2 MiB and ask for huge pages. A free block holds the address of the next free one of its class, so
/// that taking and returning a block costs a few nanoseconds and never allocates. A pool must outlive its blocks. Any thread may use it.
public final class MemoryPool: @unchecked Sendable {
    /// The pool that tensors come from.
    public static let shared = MemoryPool()

    /// Counters of a pool.
    public struct Statistics: Sendable {
        /// Blocks asked of the system so far.
        public var systemAllocations = 0
        /// Bytes asked of the system and not given back.
        public var reservedBytes = 0
        /// Bytes in blocks that are handed out.
        public var usedBytes = 0
        /// The largest `usedBytes` so far, or since ``MemoryPool/restartPeak()``.
        public var peakUsedBytes = 0
    }

    fileprivate let blocks: UnsafeMutablePointer<FreeBlocks>

    /// Makes an empty pool.
    public init() {
        blocks = .allocate(capacity: 1)
        blocks.initialize(to: FreeBlocks())
    }

    deinit {
        blocks.pointee.trim()
        blocks.deinitialize(count: 1)
        blocks.deallocate()
    }

    /// The counters now.
    public var statistics: Statistics { blocks.pointee.currentStatistics }

    /// Lets `peakUsedBytes` count from now on.
    public func restartPeak() { blocks.pointee.restartPeak() }

    /// Gives every unused block back to the system.
    public func trim() { blocks.pointee.trim() }

    /// Ends the program when the system has no memory for a block, which nothing that computes could go on without: called with the bytes asked
    /// for, on the thread that asked. Without one the program stops with a message. To be set as a program starts.
    public var exhaustionHandler: (@Sendable (_ bytes: Int) -> Never)? {
        get { blocks.pointee.exhaustionHandler }
        set { blocks.pointee.exhaustionHandler = newValue }
    }

    /// Ends the program for want of memory, as a block that cannot be had does.
    func endWithoutMemory(_ bytes: Int) -> Never { blocks.pointee.endWithoutMemory(bytes) }

    /// The blocks of the shared pool, without a reference to count.
    nonisolated(unsafe) fileprivate static let sharedBlocks = shared.blocks
}

/// What a pool keeps: a list of free blocks for each size class, and the counters.
struct FreeBlocks: ~Copyable {
    private static let classCount = 256

    /// Guards what follows. Held for a few instructions only, so that waiting for it costs less than sleeping would.
    private let isLocked = Atomic(false)
    /// Behind pointers, as all that changes here: threads come in at the same time, and only the lock may keep them apart. A mutating member would
    /// claim this whole value for itself before it has the lock.
    private let statistics: UnsafeMutablePointer<MemoryPool.Statistics>
    /// The first free block of each class.
    private let first: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private let handler: UnsafeMutablePointer<(@Sendable (Int) -> Never)?>

    init() {
        first = .allocate(capacity: FreeBlocks.classCount)
        first.initialize(repeating: nil, count: FreeBlocks.classCount)
        statistics = .allocate(capacity: 1)
        statistics.initialize(to: MemoryPool.Statistics())
        handler = .allocate(capacity: 1)
        handler.initialize(to: nil)
    }

    deinit {
        first.deallocate()
        statistics.deallocate()
        handler.deinitialize(count: 1)
        handler.deallocate()
    }

    @inline(__always)
    private borrowing func lock() {
        while isLocked.exchange(true, ordering: .acquiring) { waitForLock() }
    }

    @inline(never)
    private borrowing func waitForLock() {
        for _ in 0..<64 {
            if !isLocked.load(ordering: .relaxed) { return }
            mneme_processor_pause()
        }
        sched_yield()
    }

    @inline(__always)
    private borrowing func unlock() { isLocked.store(false, ordering: .releasing) }

    var currentStatistics: MemoryPool.Statistics {
        lock()
        defer { unlock() }
        return statistics.pointee
    }

    var exhaustionHandler: (@Sendable (Int) -> Never)? {
        get {
            lock()
            defer { unlock() }
            return handler.pointee
        }
        nonmutating set {
            lock()
            defer { unlock() }
            handler.pointee = newValue
        }
    }

    @inline(__always)
    private static func sizeClass(_ bytes: Int) -> (index: Int, bytes: Int) {
        let wanted = max(bytes, 64)
        let exponent = Int.bitWidth - 1 - (wanted - 1).leadingZeroBitCount  // 2^exponent <= wanted - 1 < 2^(exponent + 1)
        let base = 1 << exponent
        let quarter = max(base >> 2, 1)
        let step = (wanted - base + quarter - 1) / quarter  // 1...4
        return (exponent * 4 + step - 1, base + step * quarter)
    }

    @inline(__always)
    private static func classBytes(_ index: Int) -> Int {
        let base = 1 << (index >> 2)
        return base + ((index & 3) + 1) * max(base >> 2, 1)
    }

    func restartPeak() {
        lock()
        defer { unlock() }
        statistics.pointee.peakUsedBytes = statistics.pointee.usedBytes
    }

    /// A block of at least `bytes` bytes, contents undefined.
    @inline(__always)
    func allocate(_ bytes: Int) -> (pointer: UnsafeMutableRawPointer, classIndex: Int) {
        let (index, size) = FreeBlocks.sizeClass(bytes)
        lock()
        statistics.pointee.usedBytes += size
        if statistics.pointee.usedBytes > statistics.pointee.peakUsedBytes { statistics.pointee.peakUsedBytes = statistics.pointee.usedBytes }
        if let block = first[index] {
            first[index] = block.load(as: UnsafeMutableRawPointer?.self)
            unlock()
            return (block, index)
        }
        statistics.pointee.systemAllocations += 1
        statistics.pointee.reservedBytes += size
        unlock()
        guard let block = FreeBlocks.systemBlock(size) else { endWithoutMemory(bytes) }
        return (block, index)
    }

    private static let largeBlock = 2 << 20

    @inline(never)
    private static func systemBlock(_ size: Int) -> UnsafeMutableRawPointer? {
        if size >= largeBlock { return largeSystemBlock(size) }
        var pointer: UnsafeMutableRawPointer?
        return posix_memalign(&pointer, 64, size) == 0 ? pointer : nil
    }

    /// Bytes of large blocks since the system was last asked how many it has.
    private static let unchecked = Atomic(0)
    private static let checkedBytes = 64 << 20

    /// Whether the system has the memory that it would promise: without that it would end the process without a word when the pages are used.
    /// Asked once for each 64 MiB.
    private static func hasMemory(_ size: Int) -> Bool {
        guard unchecked.add(min(size, checkedBytes), ordering: .relaxed).newValue >= checkedBytes else { return true }
        unchecked.store(0, ordering: .relaxed)
        return SystemMemory.availableBytes.map { size <= $0 } ?? true
    }

    /// Pages of their own, so that giving a block back gives its memory back, from a multiple of 2 MiB.
    private static func largeSystemBlock(_ size: Int) -> UnsafeMutableRawPointer? {
        guard hasMemory(size) else { return nil }
        let length = mappedLength(size)
        let mapped = mmap(nil, length + largeBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let mapped, mapped != MAP_FAILED else { return nil }
        let before = -Int(bitPattern: mapped) & (largeBlock - 1)
        let pointer = mapped + before
        if before > 0 { munmap(mapped, before) }
        if before < largeBlock { munmap(pointer + length, largeBlock - before) }
        #if os(Linux)
            madvise(pointer, length, 14 /* MADV_HUGEPAGE */)
        #endif
        return pointer
    }

    /// `size` rounded up to whole pages, of 64 KiB where a system has the largest.
    private static func mappedLength(_ size: Int) -> Int { (size + 0xffff) & ~0xffff }

    @inline(__always)
    func release(_ pointer: UnsafeMutableRawPointer, classIndex: Int) {
        let size = FreeBlocks.classBytes(classIndex)
        lock()
        statistics.pointee.usedBytes -= size
        pointer.storeBytes(of: first[classIndex], as: UnsafeMutableRawPointer?.self)
        first[classIndex] = pointer
        unlock()
    }

    func trim() {
        lock()
        defer { unlock() }
        for index in 0..<FreeBlocks.classCount {
            while let block = first[index] {
                first[index] = block.load(as: UnsafeMutableRawPointer?.self)
                let size = FreeBlocks.classBytes(index)
                statistics.pointee.reservedBytes -= size
                if size >= FreeBlocks.largeBlock { munmap(block, FreeBlocks.mappedLength(size)) } else { free(block) }
            }
        }
    }

    /// Ends the program, as the handler says.
    @inline(never)
    func endWithoutMemory(_ bytes: Int) -> Never {
        if let handler = exhaustionHandler { handler(bytes) }
        fatalError("no memory for a tensor of \(bytes) bytes")
    }
}

/// A block of memory that returns to its pool when the last tensor that uses it is gone.
public final class Storage {
    /// The first byte; 64-byte aligned.
    public let pointer: UnsafeMutableRawPointer
    /// The bytes asked for.
    public let byteCount: Int
    private let classIndex: Int
    /// Of the pool that the block returns to; not a reference, since a pool outlives its blocks.
    private let blocks: UnsafeMutablePointer<FreeBlocks>?
    private let owner: AnyObject?

    /// True for memory that belongs to somebody else.
    var isBorrowed: Bool { owner != nil }

    /// Takes a block from the shared pool.
    @inline(__always)
    public convenience init(byteCount: Int) { self.init(byteCount: byteCount, blocks: MemoryPool.sharedBlocks) }

    /// Takes a block from `pool`, which must outlive it.
    public convenience init(byteCount: Int, pool: MemoryPool) { self.init(byteCount: byteCount, blocks: pool.blocks) }

    @inline(__always)
    private init(byteCount: Int, blocks: UnsafeMutablePointer<FreeBlocks>) {
        (pointer, classIndex) = blocks.pointee.allocate(byteCount)
        self.byteCount = byteCount
        self.blocks = blocks
        owner = nil
    }

    /// Memory that belongs to `owner`, which is kept alive as long as this storage.
    public init(borrowing pointer: UnsafeMutableRawPointer, byteCount: Int, owner: AnyObject) {
        self.pointer = pointer
        self.byteCount = byteCount
        self.owner = owner
        classIndex = 0
        blocks = nil
    }

    deinit {
        blocks?.pointee.release(pointer, classIndex: classIndex)
    }
}
