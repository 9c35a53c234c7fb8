// Memory for tensors: blocks that are kept and reused, because fresh pages cost more than arithmetic.

import Diagnostics
import Foundation
import Synchronization

/// Keeps freed blocks by size class and hands them out again.
///
/// A training step asks for the same sizes every time, so after the second step nothing is asked of the system any more.
/// Sizes are rounded up to four classes per doubling: at most a fifth of a block is unused. Blocks start on 64 bytes;
/// blocks of 2 MiB and more start on 2 MiB and ask for huge pages.
public final class MemoryPool: Sendable {
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
        /// The largest `usedBytes` so far.
        public var peakUsedBytes = 0
    }

    private struct State {
        var free = [[UInt]](repeating: [], count: 256)
        var statistics = Statistics()
    }

    private let state = Mutex(State())

    /// Makes an empty pool.
    public init() {}

    /// The counters now.
    public var statistics: Statistics { state.withLock { $0.statistics } }

    static func sizeClass(_ bytes: Int) -> (index: Int, bytes: Int) {
        let wanted = max(bytes, 64)
        let exponent = Int.bitWidth - 1 - (wanted - 1).leadingZeroBitCount  // 2^exponent <= wanted - 1 < 2^(exponent + 1)
        let base = 1 << exponent
        let quarter = max(base >> 2, 1)
        let step = (wanted - base + quarter - 1) / quarter  // 1...4
        return (exponent * 4 + step - 1, base + step * quarter)
    }

    private static func classBytes(_ index: Int) -> Int {
        let base = 1 << (index >> 2)
        return base + ((index & 3) + 1) * max(base >> 2, 1)
    }

    /// A block of at least `bytes` bytes, contents undefined.
    func allocate(_ bytes: Int) -> (pointer: UnsafeMutableRawPointer, classIndex: Int) {
        let (index, size) = MemoryPool.sizeClass(bytes)
        let reused: UInt = state.withLock { state in
            state.statistics.usedBytes += size
            state.statistics.peakUsedBytes = max(state.statistics.peakUsedBytes, state.statistics.usedBytes)
            if let block = state.free[index].popLast() { return block }
            state.statistics.systemAllocations += 1
            state.statistics.reservedBytes += size
            return 0
        }
        if let pointer = UnsafeMutableRawPointer(bitPattern: reused) { return (pointer, index) }
        let isLarge = size >= 2 << 20
        var pointer: UnsafeMutableRawPointer?
        let status = posix_memalign(&pointer, isLarge ? 2 << 20 : 64, size)
        guard status == 0, let pointer else { MemoryPool.outOfMemory(size) }
        if isLarge { madvise(pointer, size, 14 /* MADV_HUGEPAGE */) }
        return (pointer, index)
    }

    func release(_ pointer: UnsafeMutableRawPointer, classIndex: Int) {
        let size = MemoryPool.classBytes(classIndex)
        state.withLock { state in
            state.statistics.usedBytes -= size
            state.free[classIndex].append(UInt(bitPattern: pointer))
        }
    }

    /// Gives every unused block back to the system.
    public func trim() {
        state.withLock { state in
            for index in state.free.indices where !state.free[index].isEmpty {
                let size = MemoryPool.classBytes(index)
                for block in state.free[index] {
                    free(UnsafeMutableRawPointer(bitPattern: block))
                    state.statistics.reservedBytes -= size
                }
                state.free[index].removeAll()
            }
        }
    }

    private static func outOfMemory(_ bytes: Int) -> Never {
        FileHandle.standardError.write(
            Data("mneme: error: no memory for a tensor of \(bytes) bytes; use a smaller batch.lanes or batch.length, or more groups\n".utf8))
        exit(ExitCode.configuration.rawValue)
    }
}

/// A block of memory that returns to its pool when the last tensor that uses it is gone.
public final class Storage {
    /// The first byte; 64-byte aligned.
    public let pointer: UnsafeMutableRawPointer
    /// The bytes asked for.
    public let byteCount: Int
    private let classIndex: Int
    private let pool: MemoryPool?
    private let owner: AnyObject?

    /// True for memory that belongs to somebody else.
    var isBorrowed: Bool { owner != nil }

    /// Takes a block from `pool`.
    public init(byteCount: Int, pool: MemoryPool = .shared) {
        (pointer, classIndex) = pool.allocate(byteCount)
        self.byteCount = byteCount
        self.pool = pool
        owner = nil
    }

    /// Memory that belongs to `owner`, which is kept alive as long as this storage.
    public init(borrowing pointer: UnsafeMutableRawPointer, byteCount: Int, owner: AnyObject) {
        self.pointer = pointer
        self.byteCount = byteCount
        self.owner = owner
        classIndex = 0
        pool = nil
    }

    deinit {
        pool?.release(pointer, classIndex: classIndex)
    }
}
