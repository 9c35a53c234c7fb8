// Identifiers of HDF5 objects, each closed exactly once.

import CHDF5

/// An open identifier. Closing twice is harmless, and an identifier that goes out of use unclosed is closed then.
final class HDF5Handle {
    private(set) var identifier: hid_t
    private(set) var isOpen = true
    private let closer: (hid_t) -> herr_t
    /// The file that holds the object: when it closes, it takes its objects with it.
    private let owner: HDF5Handle?

    /// Takes over `identifier`, which the caller has checked.
    init(_ identifier: hid_t, owner: HDF5Handle? = nil, _ closer: @escaping (hid_t) -> herr_t) {
        self.identifier = identifier
        self.owner = owner
        self.closer = closer
    }

    /// Closes the identifier if it is open, and returns the library's code.
    @discardableResult
    func close() -> herr_t {
        HDF5Library.locked {
            guard isOpen else { return 0 }
            isOpen = false
            guard owner?.isOpen ?? true else { return 0 }
            return closer(identifier)
        }
    }

    deinit { close() }
}

extension HDF5Library {
    /// Makes a property list of `propertyClass`, lets `body` set and use it, and closes it.
    static func withProperties<Result>(_ propertyClass: @autoclosure () -> hid_t, _ body: (hid_t) throws -> Result) rethrows -> Result {
        try locked {
            let list = H5Pcreate(propertyClass())
            precondition(list >= 0, "HDF5 cannot create a property list")
            defer { H5Pclose(list) }
            return try body(list)
        }
    }

    /// Sets one property. A refusal would be a defect of ours, not of the user's world.
    static func set(_ code: herr_t) {
        precondition(code >= 0, "HDF5 refused a property")
    }

    /// Makes a dataspace of `shape` (a scalar for an empty shape), lets `body` use it, and closes it.
    ///
    /// - Parameter maximum: the shape to which a dataset may grow; `nil` fixes it.
    static func withSpace<Result>(_ shape: [Int], maximum: [hsize_t]? = nil, _ body: (hid_t) throws -> Result) rethrows -> Result {
        try locked {
            let extents = shape.map { hsize_t($0) }
            let space = shape.isEmpty ? H5Screate(H5S_SCALAR) : H5Screate_simple(Int32(shape.count), extents, maximum)
            precondition(space >= 0, "HDF5 cannot make a dataspace of shape \(shape)")
            defer { H5Sclose(space) }
            return try body(space)
        }
    }

    /// Restricts `space` to rows `rows` of its first axis.
    ///
    /// - Parameter shape: the extents of the whole space; not empty.
    static func select(_ rows: Range<Int>, ofShape shape: [Int], in space: hid_t) {
        var start = [hsize_t](repeating: 0, count: shape.count)
        var count = shape.map { hsize_t($0) }
        start[0] = hsize_t(rows.lowerBound)
        count[0] = hsize_t(rows.count)
        set(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nil, count, nil))
    }
}
