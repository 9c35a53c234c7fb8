// Files for the tests of readers, and what a reader gives.

import Corpora
import Diagnostics
import Foundation

/// A directory of its own, removed with its contents at the end.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("mneme-tests-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Writes bytes to a file, making its directories.
    @discardableResult
    package func write(_ bytes: [UInt8], to name: String) throws -> String {
        let url = URL(fileURLWithPath: path).appendingPathComponent(name)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: url)
        return url.path
    }

    @discardableResult
    package func write(_ text: String, to name: String) throws -> String {
        try write(Array(text.utf8), to: name)
    }

    /// Writes bytes compressed by the gzip program.
    @discardableResult
    package func writeCompressed(_ bytes: [UInt8], to name: String) throws -> String {
        let plain = try write(bytes, to: name + ".plain")
        let result = try runProgram("/bin/sh", ["-c", "gzip -n < \"$0\" > \"$1\"", plain, path + "/" + name])
        guard result.status == 0 else { throw UserError(.inputOutput, "gzip failed: \(result.errors)") }
        return path + "/" + name
    }
}

/// Runs a program to its end.
package func runProgram(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String, errors: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    let output = Pipe()
    let errors = Pipe()
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    // What these programs print fits into the pipes' buffers, so one may be read after the other.
    let printed = output.fileHandleForReading.readDataToEndOfFile()
    let complained = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: printed, as: UTF8.self), String(decoding: complained, as: UTF8.self))
}

/// Everything that a reader gives: records and wrong records.
package struct Reading {
    package var records: [CorpusRecord] = []
    package var errors: [RecordError] = []

    package init(_ reader: any CorpusReader) throws {
        while true {
            do {
                guard let record = try reader.next() else { return }
                records.append(record)
            } catch let error as RecordError {
                errors.append(error)
            }
        }
    }

    package init(_ format: CorpusFormat, _ inputs: [String], _ configure: (inout ReaderOptions) -> Void = { _ in }) throws {
        var options = ReaderOptions()
        configure(&options)
        try self.init(try format.makeReader(inputs: inputs, options: options))
    }

    package var sources: [String] { records.map { String(decoding: $0.source, as: UTF8.self) } }
    package var targets: [String] { records.map { String(decoding: $0.target ?? [], as: UTF8.self) } }
}

/// The error that `body` throws, if it is one for the user.
package func userError(_ body: () throws -> Void) -> UserError? {
    do {
        try body()
        return nil
    } catch {
        return error as? UserError
    }
}

/// Real data: `MNEME_DATA` names its directory.
package enum RealData {
    package static let root = ProcessInfo.processInfo.environment["MNEME_DATA"]
    package static var isPresent: Bool { root != nil }
    package static func path(_ relative: String) -> String { (root ?? "") + "/" + relative }
}
