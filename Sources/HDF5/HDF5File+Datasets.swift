// Creating and opening datasets.

import CHDF5
import Diagnostics

/// Rows of a virtual dataset, and where they lie.
public struct HDF5VirtualSource: Sendable, Hashable {
    /// The file that holds them, relative to the directory of the file with the virtual dataset.
    public var file: String
    /// The dataset's path in that file.
    public var dataset: String
    /// The shape of that dataset; beyond the first axis it equals the virtual dataset's. The file keeps it only as far as ``sourceRows`` reach.
    public var shape: [Int]
    /// The rows of that dataset that are meant.
    public var sourceRows: Range<Int>
    /// The rows of the virtual dataset that they become, as many.
    public var rows: Range<Int>

    /// A part of a virtual dataset. Both ranges must be of one length, which is checked where the dataset is made.
    public init(file: String, dataset: String, shape: [Int], sourceRows: Range<Int>, rows: Range<Int>) {
        self.file = file
        self.dataset = dataset
        self.shape = shape
        self.sourceRows = sourceRows
        self.rows = rows
    }
}

extension HDF5File {
    /// Creates a dataset, and the groups above it where they do not exist.
    ///
    /// A contiguous one gets its place in the file at once (``HDF5Dataset/fileOffset``), and holds what lay there until it is written: write all of
    /// it.
    /// - Parameters:
    ///   - name: its path in the file.
    ///   - shape: extents of the axes, outermost first; empty for a single element, which must be contiguous.
    ///   - layout: contiguous or chunked.
    /// - Throws: `UserError(.inputOutput)`, also where the name is taken.
    public func createDataset(
        _ name: String, _ elementType: HDF5ElementType, shape: [Int], layout: HDF5Layout = .contiguous
    ) throws -> HDF5Dataset {
        try HDF5Library.withProperties(mneme_h5p_dataset_create()) { creation in
            var maximum: [hsize_t]?
            switch layout {
            case .contiguous:
                HDF5Library.set(H5Pset_layout(creation, H5D_CONTIGUOUS))
                HDF5Library.set(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY))
                HDF5Library.set(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER))
            case .chunked(let rows):
                precondition(
                    rows > 0 && !shape.isEmpty && shape.dropFirst().allSatisfy { $0 > 0 }, "\(name): no chunks of \(rows) rows of shape \(shape)")
                HDF5Library.set(H5Pset_chunk(creation, Int32(shape.count), [hsize_t(rows)] + shape.dropFirst().map { hsize_t($0) }))
                maximum = [mneme_h5s_unlimited()] + shape.dropFirst().map { hsize_t($0) }
            case .virtual:
                preconditionFailure("\(name): a virtual dataset needs its sources")
            }
            return try createDataset(name, elementType, shape: shape, maximum: maximum, layout: layout, creation)
        }
    }

    /// Creates a dataset whose elements lie in other files. Any HDF5 program reads it as if they lay here. What lies in a file that is missing
    /// reads as bits that are all 1, which no computation gives: NaN, -1, the largest number; zeros would look like values.
    ///
    /// - Parameters:
    ///   - shape: extents of the axes; empty for a single element, which has one source whose row ranges are ignored.
    ///   - sources: where the rows lie. Rows that no source gives read as those of a missing file.
    /// - Throws: `UserError(.inputOutput)`.
    public func createVirtualDataset(
        _ name: String, _ elementType: HDF5ElementType, shape: [Int], sources: [HDF5VirtualSource]
    ) throws -> HDF5Dataset {
        try HDF5Library.withProperties(mneme_h5p_dataset_create()) { creation in
            // Without a source the layout still has to be virtual.
            HDF5Library.set(H5Pset_layout(creation, H5D_VIRTUAL))
            var missing = UInt64.max
            HDF5Library.set(H5Pset_fill_value(creation, elementType.memoryType, &missing))
            for source in sources {
                precondition(shape.isEmpty || source.rows.count == source.sourceRows.count, "\(name): \(source.rows) from \(source.sourceRows)")
                HDF5Library.withSpace(shape) { space in
                    HDF5Library.withSpace(source.shape) { sourceSpace in
                        if !shape.isEmpty {
                            HDF5Library.select(source.rows, ofShape: shape, in: space)
                            HDF5Library.select(source.sourceRows, ofShape: source.shape, in: sourceSpace)
                        }
                        HDF5Library.set(H5Pset_virtual(creation, space, source.file, source.dataset, sourceSpace))
                    }
                }
            }
            return try createDataset(name, elementType, shape: shape, maximum: nil, layout: .virtual, creation)
        }
    }

    /// Opens a dataset.
    ///
    /// - Throws: `UserError(.badData)` where there is none of that name, its elements are of no type known here, or the file is damaged there.
    public func dataset(_ name: String) throws -> HDF5Dataset {
        try HDF5Library.locked {
            let action = "open dataset '\(name)'"
            guard try exists(name) else { throw UserError(.badData, "it has no dataset '\(name)'", at: path) }
            let identifier = try HDF5Library.checked(.reading, path, action) { H5Dopen2(openIdentifier, name, mneme_h5p_default()) }
            do {
                let type = try HDF5Library.checked(.reading, path, action) { H5Dget_type(identifier) }
                defer { H5Tclose(type) }
                guard let elementType = HDF5ElementType(type) else {
                    throw UserError(.badData, "dataset '\(name)' holds elements of an unknown type", at: path)
                }
                let shape = try shape(of: identifier, action)
                try requireSize(of: shape, elementType, action)
                let layout = try layout(of: identifier, rank: shape.count, action)
                return HDF5Dataset(file: self, name: name, identifier: identifier, elementType: elementType, shape: shape, layout: layout)
            } catch {
                H5Dclose(identifier)
                throw error
            }
        }
    }

    /// The sources of a virtual dataset, in the order in which they were given.
    ///
    /// - Precondition: the dataset is virtual.
    /// - Throws: `UserError(.badData)` where the file is damaged there, or a source is not a range of rows.
    public func virtualSources(of dataset: HDF5Dataset) throws -> [HDF5VirtualSource] {
        precondition(dataset.layout == .virtual, "\(dataset.name) is not virtual")
        return try HDF5Library.locked {
            let action = "read the sources of dataset '\(dataset.name)'"
            let creation = try HDF5Library.checked(.reading, path, action) { H5Dget_create_plist(dataset.identifier) }
            defer { H5Pclose(creation) }
            var count = 0
            try HDF5Library.checked(.reading, path, action) { H5Pget_virtual_count(creation, &count) }
            return try (0..<count).map { index in
                let space = try HDF5Library.checked(.reading, path, action) { H5Pget_virtual_vspace(creation, index) }
                defer { H5Sclose(space) }
                let sourceSpace = try HDF5Library.checked(.reading, path, action) { H5Pget_virtual_srcspace(creation, index) }
                defer { H5Sclose(sourceSpace) }
                return HDF5VirtualSource(
                    file: try text(action) { H5Pget_virtual_filename(creation, index, $0, $1) },
                    dataset: try text(action) { H5Pget_virtual_dsetname(creation, index, $0, $1) },
                    shape: try extents(of: sourceSpace, action), sourceRows: try selectedRows(of: sourceSpace, action),
                    rows: try selectedRows(of: space, action))
            }
        }
    }

    // MARK: Parts of the above

    private func createDataset(
        _ name: String, _ elementType: HDF5ElementType, shape: [Int], maximum: [hsize_t]?, layout: HDF5Layout, _ creation: hid_t
    ) throws -> HDF5Dataset {
        HDF5Library.set(H5Pset_obj_track_times(creation, false))
        if let slash = name.lastIndex(of: "/") { try createGroup(String(name[..<slash])) }
        return try HDF5Library.withSpace(shape, maximum: maximum) { space in
            try HDF5Library.withProperties(mneme_h5p_link_create()) { link in
                HDF5Library.set(H5Pset_char_encoding(link, H5T_CSET_UTF8))
                let identifier = try HDF5Library.checked(.writing, path, "create dataset '\(name)'") {
                    H5Dcreate2(openIdentifier, name, elementType.fileType, space, link, creation, mneme_h5p_default())
                }
                return HDF5Dataset(file: self, name: name, identifier: identifier, elementType: elementType, shape: shape, layout: layout)
            }
        }
    }

    private func shape(of dataset: hid_t, _ action: String) throws -> [Int] {
        let space = try HDF5Library.checked(.reading, path, action) { H5Dget_space(dataset) }
        defer { H5Sclose(space) }
        return try extents(of: space, action)
    }

    /// Makes sure that the bytes of a dataset are a number at all.
    private func requireSize(of shape: [Int], _ elementType: HDF5ElementType, _ action: String) throws {
        var bytes = elementType.byteCount
        for extent in shape where extent > 0 {
            let (product, overflows) = bytes.multipliedReportingOverflow(by: extent)
            guard !overflows else { throw UserError(.badData, "cannot \(action): its shape \(shape) is beyond all files", at: path) }
            bytes = product
        }
    }

    private func extents(of space: hid_t, _ action: String) throws -> [Int] {
        let rank = try HDF5Library.checked(.reading, path, action) { H5Sget_simple_extent_ndims(space) }
        var extents = [hsize_t](repeating: 0, count: Int(rank))
        try HDF5Library.checked(.reading, path, action) { H5Sget_simple_extent_dims(space, &extents, nil) }
        return try extents.map { extent in
            guard let extent = Int(exactly: extent) else { throw UserError(.badData, "cannot \(action): an axis of \(extent)", at: path) }
            return extent
        }
    }

    private func layout(of dataset: hid_t, rank: Int, _ action: String) throws -> HDF5Layout {
        let creation = try HDF5Library.checked(.reading, path, action) { H5Dget_create_plist(dataset) }
        defer { H5Pclose(creation) }
        switch H5Pget_layout(creation) {
        case H5D_CHUNKED:
            var chunk = [hsize_t](repeating: 0, count: rank)
            try HDF5Library.checked(.reading, path, action) { H5Pget_chunk(creation, Int32(rank), &chunk) }
            return .chunked(rows: Int(chunk[0]))
        case H5D_VIRTUAL: return .virtual
        default: return .contiguous
        }
    }

    /// The rows that a selection covers.
    private func selectedRows(of space: hid_t, _ action: String) throws -> Range<Int> {
        let extents = try extents(of: space, action)
        if extents.isEmpty { return 0..<1 }
        if H5Sget_select_type(space) == H5S_SEL_ALL { return 0..<extents[0] }
        var first = [hsize_t](repeating: 0, count: extents.count)
        var last = first
        try HDF5Library.checked(.reading, path, action) { H5Sget_select_bounds(space, &first, &last) }
        let rows = Int(first[0])..<(Int(last[0]) + 1)
        let selected = try HDF5Library.checked(.reading, path, action) { H5Sget_select_npoints(space) }
        guard Int(selected) == extents.dropFirst().reduce(rows.count, *) else {
            throw UserError(.badData, "cannot \(action): a source that is not a range of rows", at: path)
        }
        return rows
    }

    /// A text that the library copies into a buffer.
    private func text(_ action: String, _ copy: (UnsafeMutablePointer<CChar>?, Int) -> Int) throws -> String {
        let length = try HDF5Library.checked(.reading, path, action) { copy(nil, 0) }
        return try withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + 1) { buffer in
            try HDF5Library.checked(.reading, path, action) { copy(buffer.baseAddress, buffer.count) }
            return String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}
