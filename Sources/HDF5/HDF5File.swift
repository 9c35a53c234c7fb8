// An HDF5 file: opening, closing, groups and links.

import CHDF5
import Diagnostics
import Foundation

/// What a link leads to.
public enum HDF5ObjectKind: Sendable, Hashable {
    case group, dataset
    /// A named type, or a link whose target is missing.
    case other
}

/// An open HDF5 file. Objects in it are named by paths from the root, such as `parameters/embedding`.
///
/// Equal contents give equal bytes: no times are stored. Unless asked otherwise, objects of 8 bytes or more start at multiples of 64 bytes, so that
/// a contiguous dataset may be mapped into memory and read as it is. Files are not locked: cluster file systems often cannot, and each file here
/// has one writer. An instance may be used from any thread, one at a time; calls of several files are serialised by the library's lock.
public final class HDF5File: @unchecked Sendable {
    /// The file's path, as given.
    public let path: String
    /// Whether the file was opened for reading only.
    public let isReadOnly: Bool
    let handle: HDF5Handle
    /// The failure of a dataset that closed without anybody to tell; ``flush()`` and ``close(synchronizing:)`` tell it.
    private var untoldFailure: (any Error)?

    private init(path: String, isReadOnly: Bool, identifier: hid_t) {
        self.path = path
        self.isReadOnly = isReadOnly
        handle = HDF5Handle(identifier) { HDF5File.closeOrAbandon($0) }
    }

    // MARK: Opening and closing

    /// Creates a file.
    ///
    /// - Parameters:
    ///   - replacing: whether a file that exists is emptied; otherwise it is an error.
    ///   - userBlock: bytes at the beginning of the file that HDF5 leaves alone: 0, or a power of two from 512 on.
    ///   - alignment: objects of `from` bytes or more begin at multiples of `bytes`.
    /// - Throws: `UserError(.inputOutput)`.
    public static func create(
        _ path: String, replacing: Bool = false, userBlock: Int = 0, alignment: (from: Int, bytes: Int) = (8, 64)
    ) throws -> HDF5File {
        try withAccess(alignment: alignment) { access in
            try HDF5Library.withProperties(mneme_h5p_file_create()) { creation in
                HDF5Library.set(H5Pset_obj_track_times(creation, false))
                HDF5Library.set(H5Pset_userblock(creation, hsize_t(userBlock)))
                let identifier = try HDF5Library.checked(.writing, path, "create the file") {
                    withSystemPath(path) { H5Fcreate($0, replacing ? mneme_h5f_acc_trunc() : mneme_h5f_acc_excl(), creation, access) }
                }
                return HDF5File(path: path, isReadOnly: false, identifier: identifier)
            }
        }
    }

    /// Opens a file that exists, for reading.
    ///
    /// - Throws: `UserError(.missingInput)` where it is absent or may not be read, `UserError(.badData)` where it is truncated or not HDF5.
    public static func openReadOnly(_ path: String) throws -> HDF5File {
        try withAccess { access in
            // The library would wait for whoever writes into a pipe.
            var status = stat()
            if withSystemPath(path, { stat($0, &status) }) == 0, status.st_mode & S_IFMT != S_IFREG, status.st_mode & S_IFMT != S_IFDIR {
                throw UserError(.badData, "cannot open the file: it is a pipe or a device", at: path)
            }
            let identifier = try HDF5Library.checked(.reading, path, "open the file") {
                withSystemPath(path) { H5Fopen($0, mneme_h5f_acc_rdonly(), access) }
            }
            return HDF5File(path: path, isReadOnly: true, identifier: identifier)
        }
    }

    /// Opens a file that exists, for reading and writing.
    ///
    /// - Throws: as ``openReadOnly(_:)``, and `UserError(.inputOutput)` where it may not be written.
    public static func openReadWrite(_ path: String) throws -> HDF5File {
        try withAccess { access in
            let identifier = try HDF5Library.checked(.updating, path, "open the file for writing") {
                withSystemPath(path) { H5Fopen($0, mneme_h5f_acc_rdwr(), access) }
            }
            return HDF5File(path: path, isReadOnly: false, identifier: identifier)
        }
    }

    private static func withAccess<Result>(alignment: (from: Int, bytes: Int) = (8, 64), _ body: (hid_t) throws -> Result) rethrows -> Result {
        try HDF5Library.withProperties(mneme_h5p_file_access()) { access in
            // Strong: closing the file closes what is open in it, so that nothing is written after the close that reports errors.
            HDF5Library.set(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG))
            // From 1.8 on, the format carries checksums of its metadata.
            HDF5Library.set(H5Pset_libver_bounds(access, H5F_LIBVER_V18, mneme_h5f_libver_latest()))
            HDF5Library.set(H5Pset_alignment(access, hsize_t(alignment.from), hsize_t(alignment.bytes)))
            HDF5Library.set(mneme_h5p_unlock_files(access))
            return try body(access)
        }
    }

    /// Hands what the library still holds of the file to the operating system.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    public func flush() throws {
        try HDF5Library.locked {
            if let untoldFailure { throw untoldFailure }
            try HDF5Library.checked(.writing, path, "write the file") { H5Fflush(openIdentifier, H5F_SCOPE_LOCAL) }
        }
    }

    /// Writes what is left and closes the file with every dataset in it. Closing twice is harmless.
    ///
    /// - Parameter synchronizing: whether to wait until the file is on the disk (`fsync`).
    /// - Throws: `UserError(.inputOutput)`, also where the disk turns out to be full only now. The file is closed even then.
    public func close(synchronizing: Bool = false) throws {
        try HDF5Library.locked {
            guard handle.isOpen else { return }
            // The first flush cuts the file off at its end; the superblock, which says where that is, may be left to the second.
            let written = isReadOnly ? .success(()) : Swift.Result { for _ in 0..<2 { try flush() } }
            let code = handle.close()
            try written.get()
            if code < 0 { throw HDF5Library.error(isReadOnly ? .reading : .writing, path, "close the file") }
        }
        if synchronizing { try HDF5File.synchronize(path) }
    }

    /// Remembers a failure for the next ``flush()`` or ``close(synchronizing:)``.
    func remember(_ failure: any Error) {
        HDF5Library.locked { untoldFailure = untoldFailure ?? failure }
    }

    /// Closes a file, even where what the library still holds of it cannot be written.
    ///
    /// The library refuses to let go of a file that it cannot write. Then the file's descriptor is turned to a file in memory, which takes the rest.
    /// - Returns: a negative number where something was not written.
    private static func closeOrAbandon(_ identifier: hid_t) -> herr_t {
        let flushed = H5Fflush(identifier, H5F_SCOPE_LOCAL)
        if flushed < 0 {
            var descriptor: UnsafeMutableRawPointer?
            if H5Fget_vfd_handle(identifier, mneme_h5p_default(), &descriptor) >= 0, let descriptor {
                let sink = memfd_create("mneme-abandoned-hdf5", 0)
                if sink >= 0 {
                    dup2(sink, descriptor.load(as: Int32.self))
                    Glibc.close(sink)
                }
            }
            H5Eclear2(mneme_h5e_default())
        }
        return min(flushed, H5Fclose(identifier))
    }

    /// Waits until the file or directory at `path` is on the disk.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    public static func synchronize(_ path: String) throws {
        let descriptor = withSystemPath(path) { Glibc.open($0, O_RDONLY) }
        guard descriptor >= 0 else { throw UserError(.inputOutput, "cannot open it to synchronize: \(String(cString: strerror(errno)))", at: path) }
        let code = fsync(descriptor)
        let systemError = errno
        Glibc.close(descriptor)
        // EINVAL: a file system that has nothing to synchronize for a directory.
        if code != 0, systemError != EINVAL {
            throw UserError(.inputOutput, "cannot write it to the disk: \(String(cString: strerror(systemError)))", at: path)
        }
    }

    /// The identifier of the open file.
    ///
    /// - Precondition: the file is open.
    var openIdentifier: hid_t {
        precondition(handle.isOpen, "\(path) is closed")
        return handle.identifier
    }

    /// How many identifiers are open in this file, the file's own among them.
    package var openObjectCount: Int {
        HDF5Library.locked { handle.isOpen ? H5Fget_obj_count(handle.identifier, mneme_h5f_obj_all()) : 0 }
    }

    // MARK: Groups and links

    /// Makes a group, and the groups above it, where they do not exist yet.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    public func createGroup(_ group: String) throws {
        try HDF5Library.locked {
            var prefix = ""
            for component in group.split(separator: "/") {
                prefix += "/" + component
                if try linkExists(prefix) { continue }
                try HDF5Library.withProperties(mneme_h5p_group_create()) { creation in
                    HDF5Library.set(H5Pset_obj_track_times(creation, false))
                    let identifier = try HDF5Library.checked(.writing, path, "create group '\(prefix)'") {
                        H5Gcreate2(openIdentifier, prefix, mneme_h5p_default(), creation, mneme_h5p_default())
                    }
                    H5Gclose(identifier)
                }
            }
        }
    }

    /// Whether every link of the path `object` exists.
    ///
    /// - Throws: `UserError(.badData)` where the file is damaged there.
    public func exists(_ object: String) throws -> Bool {
        try HDF5Library.locked {
            var prefix = ""
            for component in object.split(separator: "/") {
                if try !prefix.isEmpty && kind(of: prefix) != .group { return false }
                prefix += "/" + component
                if try !linkExists(prefix) { return false }
            }
            return true
        }
    }

    /// Removes the link to an object. The space in the file is not returned.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    public func remove(_ object: String) throws {
        try HDF5Library.checked(.writing, path, "remove '\(object)'") { H5Ldelete(openIdentifier, object, mneme_h5p_default()) }
    }

    /// The names of the links in a group, in order of their bytes.
    ///
    /// - Throws: `UserError(.badData)` where there is no such group or the file is damaged there.
    public func links(in group: String = "/") throws -> [String] {
        try HDF5Library.locked {
            var information = H5G_info_t()
            try HDF5Library.checked(.reading, path, "read group '\(group)'") {
                H5Gget_info_by_name(openIdentifier, group, &information, mneme_h5p_default())
            }
            return try (0..<information.nlinks).map { index in
                let length = try HDF5Library.checked(.reading, path, "read a link of group '\(group)'") {
                    H5Lget_name_by_idx(openIdentifier, group, H5_INDEX_NAME, H5_ITER_INC, index, nil, 0, mneme_h5p_default())
                }
                return try withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + 1) { buffer in
                    try HDF5Library.checked(.reading, path, "read a link of group '\(group)'") {
                        H5Lget_name_by_idx(
                            openIdentifier, group, H5_INDEX_NAME, H5_ITER_INC, index, buffer.baseAddress, buffer.count, mneme_h5p_default())
                    }
                    return String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
                }
            }
        }
    }

    /// What the path `object` leads to.
    ///
    /// - Throws: `UserError(.badData)` where there is no such object or the file is damaged there.
    public func kind(of object: String) throws -> HDF5ObjectKind {
        try HDF5Library.locked {
            let identifier = try HDF5Library.checked(.reading, path, "open '\(object)'") { H5Oopen(openIdentifier, object, mneme_h5p_default()) }
            defer { H5Oclose(identifier) }
            return switch H5Iget_type(identifier) {
            case H5I_GROUP: .group
            case H5I_DATASET: .dataset
            default: .other
            }
        }
    }

    /// More groups, or deeper ones, are groups that hold themselves.
    private static let (mostGroups, deepestGroup) = (1 << 16, 64)

    /// The paths, from the root and without a leading slash, of all datasets in and below a group, in order of their bytes.
    ///
    /// - Throws: as ``links(in:)``, and `UserError(.badData)` for groups that hold themselves.
    public func datasetPaths(under group: String = "/") throws -> [String] {
        var groups = 0
        func paths(_ parts: [Substring]) throws -> [String] {
            groups += 1
            guard groups <= Self.mostGroups, parts.count <= Self.deepestGroup else {
                throw UserError(.badData, "a group holds itself: \(parts.prefix(4).joined(separator: "/"))/...", at: path)
            }
            return try links(in: parts.isEmpty ? "/" : parts.joined(separator: "/")).flatMap { name -> [String] in
                let object = (parts + [name[...]]).joined(separator: "/")
                return switch try kind(of: object) {
                case .group: try paths(parts + [name[...]])
                case .dataset: [object]
                case .other: []
                }
            }
        }
        return try paths(group.split(separator: "/"))
    }

    private func linkExists(_ object: String) throws -> Bool {
        try HDF5Library.checked(.reading, path, "look for '\(object)'") { H5Lexists(openIdentifier, object, mneme_h5p_default()) } > 0
    }
}
