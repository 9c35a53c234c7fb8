// What goes wrong: each failure is one line with the path and the right exit code, and no identifier stays open.

import Diagnostics
import Foundation
import HDF5
import Testing

@Suite(.serialized) struct FailureTests {
    /// The user error that `body` throws.
    private func failure(_ body: () throws -> Void) throws -> UserError {
        try #require(throws: UserError.self, performing: body)
    }

    @Test("an absent file, a directory, a file that is not HDF5, and a truncated one")
    func opening() throws {
        try withTemporaryDirectory { directory in
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
        try withTemporaryDirectory { directory in
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
        try withTemporaryDirectory { directory in
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

    @Test("every identifier is closed exactly once, whichever way the objects go")
    func identifiers() throws {
        try withTemporaryDirectory { directory in
            let before = HDF5Library.openObjectCount
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
            #expect(HDF5Library.openObjectCount == before)
            // Closed with its file: nothing is left to close, and nothing is closed twice.
            try openAtTheEnd.close()
            do { _ = try HDF5File.openReadOnly(directory + "/a.h5").dataset("kept") }
            #expect(HDF5Library.openObjectCount == before)
        }
    }

    @Test("a write beyond the limit of the disk fails with the reason, at the latest at the close, and leaves nothing open")
    func shortWrites() throws {
        try withTemporaryDirectory { directory in
            // A limit on file sizes stands in for a full disk: it too fails single writes in the middle of a file.
            signal(SIGXFSZ, SIG_IGN)
            var old = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &old)
            var low = old
            low.rlim_cur = 64 * 1024
            let before = HDF5Library.openObjectCount
            let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count

            setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &low)
            let large = try #require(throws: UserError.self) {
                let file = try HDF5File.create(directory + "/large.h5")
                let dataset = try file.createDataset("x", .float32, shape: [1 << 20])
                try dataset.write([Float](repeating: 1, count: 1 << 20))
                try file.close()
            }
            // Chunks wait in the library's cache, so that only the close can tell.
            let late = try #require(throws: UserError.self) {
                let file = try HDF5File.create(directory + "/late.h5")
                let dataset = try file.createDataset("x", .uint8, shape: [0], layout: .chunked(rows: 100 * 1024))
                try [UInt8](repeating: 1, count: 100 * 1024).withUnsafeBytes { try dataset.append($0) }
                try file.close()
            }
            setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &old)

            for (error, name) in [(large, "large.h5"), (late, "late.h5")] {
                #expect(error.exitCode == .inputOutput)
                #expect(error.description.hasPrefix("\(directory)/\(name): cannot "))
                #expect(error.description.contains("File too large"))
            }
            #expect(HDF5Library.openObjectCount == before)
            #expect(try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count == descriptors)
        }
    }

    @Test("files may be used from several threads at once")
    func threads() throws {
        try withTemporaryDirectory { directory in
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
