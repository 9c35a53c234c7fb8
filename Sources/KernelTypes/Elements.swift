// The types of elements, and where elements begin.

import Diagnostics

/// What the elements of an array are.
public enum DataType: UInt8, Sendable {
    case float32, bfloat16, int32

    /// Bytes of one element.
    @inlinable
    public var byteCount: Int { self == .bfloat16 ? 2 : 4 }
}

/// The first element of an array, and the type of its elements: what a kernel takes that serves float32 and bfloat16.
///
/// It does not keep the array alive. Kernels only read what their documentation does not call written.
@frozen
public struct Elements {
    /// Where the first element lies.
    public let address: UnsafeMutableRawPointer
    /// What the elements are.
    public let type: DataType

    /// The elements of a type from an address on.
    @_transparent
    public init(_ address: UnsafeMutableRawPointer, _ type: DataType) {
        self.address = address
        self.type = type
    }

    /// float32 elements.
    @_transparent
    public init(_ floats: FloatInput) { self.init(UnsafeMutableRawPointer(mutating: floats), .float32) }

    /// The address of float32 elements, whose type the caller has looked at.
    @_transparent
    public var floats: FloatOutput { address.assumingMemoryBound(to: Float.self) }

    /// The address of bfloat16 elements, whose type the caller has looked at.
    @_transparent
    public var bfloats: BFloatOutput { address.assumingMemoryBound(to: UInt16.self) }

    /// The elements from the `count`-th on.
    @inlinable @inline(__always)
    public static func + (elements: Elements, count: Int) -> Elements {
        Elements(elements.address + count &* elements.type.byteCount, elements.type)
    }
}

/// The type of a kernel's arrays where all have the same.
@frozen
public enum FloatingType {
    case float32, bfloat16
}

/// Stops the program: a kernel was called with element types that it does not serve.
@inline(never)
public func refuseTypes(_ kernel: StaticString, _ a: DataType, _ b: DataType? = nil, _ c: DataType? = nil) -> Never {
    let types = [a, b, c].compactMap { $0 }.map { "\($0)" }.joined(separator: ", ")
    require(false, "the kernel \(kernel) does not serve the types \(types)")
    fatalError()
}
