// Datasets: arrays of one element type, read and written whole or by rows.

import CHDF5
import Diagnostics

/// Where the elements of a dataset lie.
public enum HDF5Layout: Sendable, Hashable {
    /// One run of bytes in the file, in row-major order. See ``HDF5Dataset/fileOffset``.
    case contiguous
    /// Blocks of `rows` rows each; the dataset may grow along its first axis.
    case chunked(rows: Int)
    /// In other files. See ``HDF5File/createVirtualDataset(_:_:shape:sources:)``.
    case virtual
}

/// An open dataset. A row is all that shares one index of the first axis; a dataset without axes is one element and has no rows.
///
/// Buffers hold elements in row-major order and the machine's byte order, and are borrowed for the call.
public final class HDF5Dataset: @unchecked Sendable {
    /// The file that holds it.
    public let file: HDF5File
    /// Its path in the file.
    public let name: String
    /// The type of its elements, in the file and in buffers.
    public let elementType: HDF5ElementType
    /// How the file lays it out.
    public let layout: HDF5Layout
    /// The extents of the axes, outermost first. The first one grows with ``append(_:)``.
    public private(set) var shape: [Int]
    private let handle: HDF5Handle

    init(file: HDF5File, name: String, identifier: hid_t, elementType: HDF5ElementType, shape: [Int], layout: HDF5Layout) {
        self.file = file
        self.name = name
        self.elementType = elementType
        self.shape = shape
        self.layout = layout
        handle = HDF5Handle(identifier, owner: file.handle) { H5Dclose($0) }
    }

    /// Bytes of a row; of the one element where there are no axes.
    public var rowByteCount: Int { shape.dropFirst().reduce(elementType.byteCount, *) }

    /// Bytes of the whole dataset.
    public var byteCount: Int { shape.reduce(elementType.byteCount, *) }

    /// The place of the first element in the file, in bytes; `nil` unless the layout is contiguous and the dataset holds any bytes.
    ///
    /// The bytes are there once the file has been flushed or closed.
    public var fileOffset: Int? {
        HDF5Library.locked {
            guard layout == .contiguous, byteCount > 0 else { return nil }
            let offset = H5Dget_offset(identifier)
            return offset == mneme_haddr_undefined() ? nil : Int(exactly: offset)
        }
    }

    // MARK: Reading and writing

    /// Writes every element.
    ///
    /// - Precondition: `bytes` holds ``byteCount`` bytes.
    /// - Throws: `UserError(.inputOutput)`.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        precondition(bytes.count == byteCount, "\(name): \(bytes.count) bytes for shape \(shape) of \(elementType)")
        guard let source = bytes.baseAddress, !bytes.isEmpty else { return }
        try HDF5Library.checked(.writing, file.path, "write dataset '\(name)'") {
            H5Dwrite(identifier, elementType.memoryType, mneme_h5s_all(), mneme_h5s_all(), mneme_h5p_default(), source)
        }
    }

    /// Writes the rows `rows`.
    ///
    /// - Precondition: the dataset has these rows, and `bytes` holds their bytes.
    /// - Throws: `UserError(.inputOutput)`.
    public func write(_ bytes: UnsafeRawBufferPointer, rows: Range<Int>) throws {
        check(rows, bytes.count)
        guard let source = bytes.baseAddress, !bytes.isEmpty else { return }
        try withRows(rows) { memorySpace, fileSpace in
            _ = try HDF5Library.checked(.writing, file.path, "write rows \(rows) of dataset '\(name)'") {
                H5Dwrite(identifier, elementType.memoryType, memorySpace, fileSpace, mneme_h5p_default(), source)
            }
        }
    }

    /// Reads every element.
    ///
    /// - Precondition: `bytes` has room for ``byteCount`` bytes, exactly.
    /// - Throws: `UserError(.badData)` where the file is damaged there, `UserError(.inputOutput)` where the disk fails.
    public func read(into bytes: UnsafeMutableRawBufferPointer) throws {
        precondition(bytes.count == byteCount, "\(name): \(bytes.count) bytes for shape \(shape) of \(elementType)")
        guard let target = bytes.baseAddress, !bytes.isEmpty else { return }
        try HDF5Library.checked(.reading, file.path, "read dataset '\(name)'") {
            H5Dread(identifier, elementType.memoryType, mneme_h5s_all(), mneme_h5s_all(), mneme_h5p_default(), target)
        }
    }

    /// Reads the rows `rows`.
    ///
    /// - Precondition: the dataset has these rows, and `bytes` has room for their bytes, exactly.
    /// - Throws: as ``read(into:)``.
    public func read(into bytes: UnsafeMutableRawBufferPointer, rows: Range<Int>) throws {
        check(rows, bytes.count)
        guard let target = bytes.baseAddress, !bytes.isEmpty else { return }
        try withRows(rows) { memorySpace, fileSpace in
            _ = try HDF5Library.checked(.reading, file.path, "read rows \(rows) of dataset '\(name)'") {
                H5Dread(identifier, elementType.memoryType, memorySpace, fileSpace, mneme_h5p_default(), target)
            }
        }
    }

    /// Adds rows at the end.
    ///
    /// - Precondition: the layout is chunked, and `bytes` holds whole rows.
    /// - Throws: `UserError(.inputOutput)`.
    public func append(_ bytes: UnsafeRawBufferPointer) throws {
        precondition(rowByteCount > 0 && bytes.count % rowByteCount == 0, "\(name): \(bytes.count) bytes are not whole rows of \(rowByteCount)")
        let first = shape[0]
        try resize(rows: first + bytes.count / rowByteCount)
        try write(bytes, rows: first..<shape[0])
    }

    /// Changes the number of rows. New rows hold zeros; rows beyond the end are lost.
    ///
    /// - Precondition: the layout is chunked.
    /// - Throws: `UserError(.inputOutput)`.
    public func resize(rows: Int) throws {
        guard case .chunked = layout else { preconditionFailure("\(name) is not chunked and cannot grow") }
        var extents = shape
        extents[0] = rows
        let sizes = extents.map { hsize_t($0) }
        try HDF5Library.checked(.writing, file.path, "resize dataset '\(name)' to \(rows) rows") { H5Dset_extent(identifier, sizes) }
        shape = extents
    }

    /// Closes the dataset. Closing twice is harmless, and a dataset that goes out of use is closed then;
    /// what fails there is thrown when the file is flushed or closed.
    ///
    /// - Throws: `UserError(.inputOutput)` where what the library held back cannot be written.
    public func close() throws {
        try HDF5Library.checked(.writing, file.path, "close dataset '\(name)'") { handle.close() }
    }

    deinit {
        do { try close() } catch { file.remember(error) }
    }

    /// The identifier of the open dataset.
    var identifier: hid_t {
        precondition(handle.isOpen && file.handle.isOpen, "dataset '\(name)' of \(file.path) is closed")
        return handle.identifier
    }

    private func check(_ rows: Range<Int>, _ byteCount: Int) {
        precondition(!shape.isEmpty && rows.lowerBound >= 0 && rows.upperBound <= shape[0], "\(name) of shape \(shape) has no rows \(rows)")
        precondition(byteCount == rows.count * rowByteCount, "\(name): \(byteCount) bytes for \(rows.count) rows of \(rowByteCount)")
    }

    private func withRows(_ rows: Range<Int>, _ body: (_ memorySpace: hid_t, _ fileSpace: hid_t) throws -> Void) throws {
        var extents = shape
        extents[0] = rows.count
        try HDF5Library.withSpace(extents) { memorySpace in
            try HDF5Library.withSpace(shape) { fileSpace in
                HDF5Library.select(rows, ofShape: shape, in: fileSpace)
                try body(memorySpace, fileSpace)
            }
        }
    }
}

extension HDF5Dataset {
    /// Sets an attribute of the dataset. See ``HDF5File/setAttribute(_:_:on:)``.
    public func setAttribute(_ attribute: String, _ value: HDF5AttributeValue) throws {
        try file.setAttribute(attribute, value, on: name)
    }

    /// The value of an attribute of the dataset. See ``HDF5File/attribute(_:on:)``.
    public func attribute(_ attribute: String) throws -> HDF5AttributeValue {
        try file.attribute(attribute, on: name)
    }

    /// Writes every element from an array.
    ///
    /// - Precondition: `Element` is the dataset's element type, and there are as many as the shape says.
    /// - Throws: `UserError(.inputOutput)`.
    public func write<Element: BitwiseCopyable>(_ elements: [Element]) throws {
        precondition(MemoryLayout<Element>.stride == elementType.byteCount, "\(name) holds \(elementType), not \(Element.self)")
        try elements.withUnsafeBytes { try write($0) }
    }

    /// Every element as an array.
    ///
    /// - Precondition: `Element` is the dataset's element type.
    /// - Throws: as ``read(into:)``.
    public func read<Element: BitwiseCopyable>(as type: Element.Type) throws -> [Element] {
        precondition(MemoryLayout<Element>.stride == elementType.byteCount, "\(name) holds \(elementType), not \(Element.self)")
        return try [Element](unsafeUninitializedCapacity: byteCount / elementType.byteCount) { buffer, count in
            let whole = UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: buffer.prefix(byteCount / elementType.byteCount)))
            try read(into: whole)
            count = byteCount / elementType.byteCount
        }
    }
}
