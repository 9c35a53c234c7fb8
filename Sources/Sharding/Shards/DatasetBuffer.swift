// Growing buffers of one shard's tokens and numbers, as they will lie in the file.

import HDF5

/// Elements of one dataset, gathered in memory. Memory doubles as needed and is kept for the next shard.
final class DatasetBuffer {
    let elementType: HDF5ElementType
    private(set) var count = 0
    private var storage: UnsafeMutableRawPointer
    private var capacity: Int

    init(_ elementType: HDF5ElementType) {
        self.elementType = elementType
        capacity = 1 << 12
        storage = .allocate(byteCount: capacity * elementType.byteCount, alignment: 64)
    }

    deinit {
        storage.deallocate()
    }

    /// The elements, as bytes.
    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: storage, count: count * elementType.byteCount)
    }

    /// Forgets the elements, keeps the memory.
    func removeAll() {
        count = 0
    }

    /// Adds ids to a buffer of uint16 or int32.
    func append(_ ids: UnsafeBufferPointer<Int32>) {
        reserve(ids.count)
        switch elementType {
        case .uint16:
            let output = storage.assumingMemoryBound(to: UInt16.self) + count
            for index in 0..<ids.count { output[index] = UInt16(truncatingIfNeeded: ids[index]) }
        default:
            precondition(elementType == .int32, "ids are stored as uint16 or int32")
            let output = storage.assumingMemoryBound(to: Int32.self) + count
            for index in 0..<ids.count { output[index] = ids[index] }
        }
        count += ids.count
    }

    /// Adds one id.
    func append(id: Int32) {
        withUnsafePointer(to: id) { append(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    /// Adds one number to a buffer of int64.
    func append(_ number: Int) {
        precondition(elementType == .int64, "numbers are stored as int64")
        reserve(1)
        storage.storeBytes(of: Int64(number), toByteOffset: count * 8, as: Int64.self)
        count += 1
    }

    private func reserve(_ additional: Int) {
        guard count + additional > capacity else { return }
        capacity = max(2 * capacity, count + additional)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity * elementType.byteCount, alignment: 64)
        larger.copyMemory(from: storage, byteCount: count * elementType.byteCount)
        storage.deallocate()
        storage = larger
    }
}
