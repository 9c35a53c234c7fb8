// The tensor: a shape over shared storage, and, while a tape records, its place on that tape.

import Kernels
@_exported import enum KernelTypes.DataType

/// An n-dimensional array, row-major and contiguous.
///
/// Copies share storage. Operations never change their inputs; members that write in place say so in their names.
public struct Tensor {
    /// The memory; several tensors may share it.
    public private(set) var storage: Storage
    /// The first element's index in the storage, in elements.
    @inline(__always)
    public var offset: Int { place >> 2 }
    /// The extents.
    public let shape: Shape
    /// What the elements are.
    @inline(__always)
    public var dataType: DataType { place & 3 == 0 ? .float32 : place & 3 == 1 ? .bfloat16 : .int32 }
    /// Offset and data type in one word.
    private let place: Int
    /// The place on a tape, when gradients are wanted for this tensor.
    public internal(set) var node: Node?

    @inline(__always)
    init(storage: consuming Storage, offset: Int, shape: Shape, dataType: DataType, node: consuming Node? = nil) {
        self.storage = storage
        place = offset << 2 | Int(dataType.rawValue)
        self.shape = shape
        self.node = node
    }

    /// A tensor whose elements are undefined until written.
    public init(uninitialized shape: Shape, _ dataType: DataType = .float32) {
        storage = Storage(byteCount: shape.count * dataType.byteCount)
        place = Int(dataType.rawValue)
        self.shape = shape
        node = nil
    }

    /// A float32 tensor of one value everywhere.
    public init(repeating value: Float, _ shape: Shape) {
        self.init(uninitialized: shape)
        kernels.fill(floats, value, shape.count)
    }

    /// A float32 tensor of zeros.
    public init(zeros shape: Shape) { self.init(repeating: 0, shape) }

    /// A float32 tensor of the given elements, row-major.
    public init(_ elements: [Float], _ shape: Shape) {
        precondition(elements.count == shape.count, "\(elements.count) elements for shape \(shape)")
        self.init(uninitialized: shape)
        elements.withUnsafeBufferPointer { if let base = $0.baseAddress { floats.update(from: base, count: $0.count) } }
    }

    /// A float32 scalar (rank 0).
    public init(_ value: Float) { self.init(repeating: value, []) }

    /// An int32 tensor of the given elements, row-major: indices, classes.
    public init(_ elements: [Int32], _ shape: Shape) {
        precondition(elements.count == shape.count, "\(elements.count) elements for shape \(shape)")
        self.init(uninitialized: shape, .int32)
        elements.withUnsafeBufferPointer { if let base = $0.baseAddress { integers.update(from: base, count: $0.count) } }
    }

    /// A float32 tensor over memory that `owner` keeps alive.
    public init(borrowing pointer: UnsafeMutablePointer<Float>, _ shape: Shape, owner: AnyObject) {
        self.init(
            storage: Storage(borrowing: UnsafeMutableRawPointer(pointer), byteCount: shape.count * 4, owner: owner), offset: 0, shape: shape,
            dataType: .float32)
    }

    /// The number of elements.
    public var count: Int { shape.count }

    /// The first element. Writing is for the code that made the tensor, before anybody else holds it.
    @inline(__always)
    public var floats: UnsafeMutablePointer<Float> {
        precondition(dataType == .float32, "a float32 tensor was expected, not \(dataType)")
        return storage.pointer.assumingMemoryBound(to: Float.self) + offset
    }

    /// The first element of an int32 tensor.
    @inline(__always)
    public var integers: UnsafeMutablePointer<Int32> {
        precondition(dataType == .int32, "an int32 tensor was expected, not \(dataType)")
        return storage.pointer.assumingMemoryBound(to: Int32.self) + offset
    }

    /// The first element of a bfloat16 tensor, as bit patterns.
    @inline(__always)
    public var bfloats: UnsafeMutablePointer<UInt16> {
        precondition(dataType == .bfloat16, "a bfloat16 tensor was expected, not \(dataType)")
        return storage.pointer.assumingMemoryBound(to: UInt16.self) + offset
    }

    /// The first element, whatever the elements are.
    @inline(__always)
    public var bytes: UnsafeMutableRawPointer { storage.pointer + offset * dataType.byteCount }

    /// The first element with the type, whatever it is, as kernels take it.
    @inline(__always)
    public var elements: Elements { Elements(bytes, dataType) }

    /// The elements of a float32 tensor as an array. Cost: a copy.
    public var array: [Float] { Array(UnsafeBufferPointer(start: floats, count: count)) }
    /// The elements of an int32 tensor as an array. Cost: a copy.
    public var integerArray: [Int32] { Array(UnsafeBufferPointer(start: integers, count: count)) }

    /// The only element of a one-element float32 tensor.
    public var scalar: Float {
        precondition(count == 1, "a scalar was expected, not shape \(shape)")
        return floats[0]
    }

    /// True when a tape will compute a gradient for this tensor.
    public var requiresGradient: Bool { node != nil }

    /// The same values off the tape: no gradient flows through the result.
    public func stopGradient() -> Tensor {
        Tensor(storage: storage, offset: offset, shape: shape, dataType: dataType)
    }

    /// The same elements under another shape, off the tape. Shares storage.
    package func viewed(as shape: Shape, offset: Int = 0) -> Tensor {
        Tensor(storage: storage, offset: self.offset + offset, shape: shape, dataType: dataType)
    }

    /// A copy with storage of its own, off the tape.
    public func copied() -> Tensor {
        let result = Tensor(uninitialized: shape, dataType)
        let bytes = count * dataType.byteCount
        result.storage.pointer.copyMemory(from: storage.pointer + offset * dataType.byteCount, byteCount: bytes)
        return result
    }

    /// What an operation keeps of this float32 tensor for its gradient.
    @inline(__always)
    var kept: KeptValues { KeptValues(storage: storage, floats: floats) }

    /// True when no other tensor shares the storage and it is not borrowed from elsewhere: it may be written in place.
    mutating func hasOwnStorage() -> Bool { isKnownUniquelyReferenced(&storage) && !storage.isBorrowed }
}

/// The elements of a float32 tensor alone, without shape and place on a tape: what fits into the small blocks that an allocator serves fastest.
struct KeptValues {
    private let storage: Storage
    /// The first element.
    let floats: UnsafePointer<Float>

    @inline(__always)
    fileprivate init(storage: Storage, floats: UnsafePointer<Float>) { (self.storage, self.floats) = (storage, floats) }
}
