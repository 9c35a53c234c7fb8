// What goes wrong: each failure is one line with the path and the right exit code, and no identifier stays open.

import CHDF5
import Diagnostics
import Foundation
import HDF5
import TestSupport
import Testing

@Suite(.serialized) struct FailureTests {
    /// The user error that `body` throws.
    private func failure(_ body: () throws -> Void) throws -> UserError {
        try #require(throws: UserError.self, performing: body)
    }

    @Test("an absent file, a directory, a file that is not HDF5, and a truncated one")
    func opening() throws {
        try withScratchDirectory { directory in
            let absent = try failure { _ = try HDF5File.openReadOnly(directory + "/absent.h5") }
            #expect(absent.exitCode == .missingInput)
            #expect(absent.description.hasPrefix("\(directory)/absent.h5: cannot open the file: No such file or directory"))
            #expect(try failure { _ = try HDF5File.openReadWrite(directory + "/absent.h5") }.exitCode == .missingInput)
            #expect(try failure { _ = try HDF5File.openReadOnly(directory) }.exitCode == .missingInput)

            let text = directory + "/text.h5"
            try Data("not HDF5 at all".utf8).write(to: URL(fileURLWithPath: text))
            let foreign = try failure { _ = try HDF5File.openReadOnly(text) }
            #expect(foreign.exitCode == .badData)
            #expect(foreign.description.contains("signature"))

            let path = directory + "/a.h5"
            let file = try HDF5File.create(path)
            try file.createDataset("x", .float32, shape: [4096]).write([Float](repeating: 1, count: 4096))
            try file.close()
            #expect(truncate(path, 9000) == 0)
            let truncated = try failure { _ = try HDF5File.openReadOnly(path) }
            #expect(truncated.exitCode == .badData)
            #expect(truncated.description.contains("truncated"))
        }
    }

    @Test("a file that exists is not replaced unasked, and a directory must exist")
    func creating() throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            try HDF5File.create(path).close()
            let taken = try failure { _ = try HDF5File.create(path) }
            #expect(taken.exitCode == .inputOutput)
            #expect(taken.description.contains("File exists"))
            try HDF5File.create(path, replacing: true).close()
            let nowhere = try failure { _ = try HDF5File.create(directory + "/no/a.h5") }
            #expect(nowhere.exitCode == .inputOutput)
            #expect(nowhere.description.contains("No such file or directory"))
        }
    }

    @Test("absent and foreign datasets and attributes name the file and the object")
    func absentObjects() throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            let file = try HDF5File.create(path)
            try file.createDataset("x", .float32, shape: [1]).write([Float(0)])
            let taken = try failure { _ = try file.createDataset("x", .float32, shape: [1]) }
            #expect(taken.description.contains("cannot create dataset 'x'"))
            let dataset = try failure { _ = try file.dataset("group/y") }
            #expect(dataset.exitCode == .badData)
            #expect(dataset.description == "\(path): it has no dataset 'group/y'")
            let attribute = try failure { _ = try file.attribute("step") }
            #expect(attribute.exitCode == .badData)
            #expect(attribute.description.contains("cannot read attribute 'step'"))
            try file.close()
        }
    }

    @Test("a pipe is refused, not waited for")
    func pipes() throws {
        try withScratchDirectory { directory in
            try #require(mkfifo(directory + "/pipe.h5", 0o600) == 0)
            let pipe = try failure { _ = try HDF5File.openReadOnly(directory + "/pipe.h5") }
            #expect(pipe.exitCode == .badData && pipe.description.contains("it is a pipe"))
        }
    }

    /// Changes a file behind the back of ``HDF5File``.
    private func craft(_ path: String, _ change: (hid_t) -> Void) {
        HDF5Library.locked {
            let file = H5Fopen(path, mneme_h5f_acc_rdwr(), mneme_h5p_default())
            change(file)
            H5Fclose(file)
        }
    }

    @Test("groups that hold themselves, and shapes beyond all files")
    func craftedFiles() throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            let file = try HDF5File.create(path)
            try file.createGroup("a/b")
            try file.close()
            craft(path) { file in
                // Two ways back to the root: the paths double with each step.
                H5Lcreate_hard(file, "/", file, "/a/back", mneme_h5p_default(), mneme_h5p_default())
                H5Lcreate_hard(file, "/", file, "/a/b/back", mneme_h5p_default(), mneme_h5p_default())
                let creation = H5Pcreate(mneme_h5p_dataset_create())
                H5Pset_layout(creation, H5D_CHUNKED)
                H5Pset_chunk(creation, 2, [1, 1])
                let space = H5Screate_simple(2, [1 << 40, 1 << 40], nil)
                H5Dclose(H5Dcreate2(file, "/vast", mneme_h5t_ieee_f32le(), space, mneme_h5p_default(), creation, mneme_h5p_default()))
                H5Sclose(space)
                H5Pclose(creation)
            }
            let crafted = try HDF5File.openReadOnly(path)
            let cycle = try failure { _ = try crafted.datasetPaths() }
            #expect(cycle.exitCode == .badData && cycle.description.contains("a group holds itself: a/"), "\(cycle)")
            let vast = try failure { _ = try crafted.dataset("vast") }
            #expect(vast.exitCode == .badData && vast.description.contains("beyond all files"), "\(vast)")
            try crafted.close()
        }
    }

    @Test("a group of which a part cannot be read is an error, not a group without its last links")
    func damagedGroups() throws {
        try withScratchDirectory { directory in
            let path = directory + "/a.h5"
            let names = (0..<7).map { "dataset\($0)" }
            let file = try HDF5File.create(path)
            // Enough in the root's header that it lies in several pieces.
            for index in 0..<4 { try file.setAttribute("attribute\(index)", .integer(Int64(index))) }
            for name in names { try file.createDataset(name, .int32, shape: [1]).write([Int32(1)]) }
            try file.close()
            let whole = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            // The pieces of the root's header behind the first one.
            let pieces = whole.indices.filter { whole[$0...].starts(with: Array("OCHK".utf8)) }
            try #require(pieces.count > 1)
            for piece in pieces {
                var damaged = whole
                damaged[piece + 4] ^= 1
                try Data(damaged).write(to: URL(fileURLWithPath: path))
                let error = try failure { _ = try HDF5File.openReadOnly(path).datasetPaths() }
                #expect(error.exitCode == .badData, "\(error)")
                #expect(HDF5Library.openObjectCount(under: directory) == 0)
            }
            try Data(whole).write(to: URL(fileURLWithPath: path))
            #expect(try HDF5File.openReadOnly(path).datasetPaths() == names)
        }
    }

    @Test("every identifier is closed exactly once, whichever way the objects go")
    func identifiers() throws {
        try withScratchDirectory { directory in
            let file = try HDF5File.create(directory + "/a.h5")
            let kept = try file.createDataset("kept", .float32, shape: [2])
            try kept.write([Float(1), 2])
            do {
                let dropped = try file.createDataset("dropped", .int32, shape: [0], layout: .chunked(rows: 4))
                try [Int32(1)].withUnsafeBytes { try dropped.append($0) }
                #expect(file.openObjectCount == 3)
            }
            try file.setAttribute("text", .string("a"), on: "kept")
            _ = try file.attributes(on: "kept")
            _ = try? file.dataset("absent")
            _ = try? file.attribute("absent")
            _ = try file.datasetPaths()
            #expect(file.openObjectCount == 2)
            try kept.close()
            try kept.close()
            #expect(file.openObjectCount == 1)
            _ = try file.dataset("kept")
            let openAtTheEnd = try file.dataset("kept")
            try file.close()
            try file.close()
            #expect(HDF5Library.openObjectCount(under: directory) == 0)
            // Closed with its file: nothing is left to close, and nothing is closed twice.
            try openAtTheEnd.close()
            do { _ = try HDF5File.openReadOnly(directory + "/a.h5").dataset("kept") }
            #expect(HDF5Library.openObjectCount(under: directory) == 0)
        }
    }

    @Test("a full disk fails with the reason, at the latest at the close, and leaves nothing open", .enabled(if: TinyDisk.isPermitted))
    func fullDisk() throws {
        try withTinyDisk(kilobytes: 256) { directory in
            let failures = try [failure { try writeLarge(directory + "/0.h5") }, failure { try writeLate(directory + "/1.h5") }]
            for (index, error) in failures.enumerated() {
                #expect(error.exitCode == .inputOutput)
                #expect(error.description.hasPrefix("\(directory)/\(index).h5: cannot "))
                #expect(error.description.contains("No space left on device"))
                #expect(error.description.hasSuffix("free some space or choose another directory"))
            }
            #expect(HDF5Library.openObjectCount(under: directory) == 0)
            #expect(openDescriptors(under: directory).isEmpty)
            for index in 0..<2 { try? FileManager.default.removeItem(atPath: "\(directory)/\(index).h5") }
            try HDF5File.create(directory + "/after.h5").close()
        }
    }

    /// The files in `directory` that this process holds open.
    private func openDescriptors(under directory: String) -> [String] {
        let descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        return descriptors.compactMap { try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)") }
            .filter { $0.hasPrefix(directory) }
    }

    /// Writes more at once than fits.
    private func writeLarge(_ path: String) throws {
        let file = try HDF5File.create(path)
        try file.createDataset("x", .float32, shape: [1 << 20]).write([Float](repeating: 1, count: 1 << 20))
        try file.close()
    }

    /// Writes a chunk that waits in the library's cache, so that only the close can tell that it does not fit.
    private func writeLate(_ path: String) throws {
        let file = try HDF5File.create(path)
        do {
            let dataset = try file.createDataset("x", .uint8, shape: [0], layout: .chunked(rows: 300 * 1024))
            try [UInt8](repeating: 1, count: 300 * 1024).withUnsafeBytes { try dataset.append($0) }
        } catch {
            Issue.record("the append failed, not the close: \(error)")
        }
        try file.close()
    }

    @Test("files may be used from several threads at once")
    func threads() throws {
        try withScratchDirectory { directory in
            let failures = Failures()
            DispatchQueue.concurrentPerform(iterations: 8) { index in
                do {
                    let path = "\(directory)/\(index).h5"
                    let file = try HDF5File.create(path)
                    for k in 0..<20 { try file.createDataset("g/\(k)", .int32, shape: [64]).write([Int32](repeating: Int32(index), count: 64)) }
                    try file.close()
                    let again = try HDF5File.openReadOnly(path)
                    for k in 0..<20 where try again.dataset("g/\(k)").read(as: Int32.self) != [Int32](repeating: Int32(index), count: 64) {
                        failures.add("\(path) \(k)")
                    }
                    _ = try? HDF5File.openReadOnly(path + ".absent")
                } catch {
                    failures.add("\(error)")
                }
            }
            #expect(failures.list.isEmpty)
        }
    }
}

/// What went wrong on other threads.
private final class Failures: @unchecked Sendable {
    private let lock = NSLock()
    private(set) var list: [String] = []

    func add(_ text: String) { lock.withLock { list.append(text) } }
}
