// A directory of files that a simulation writes: all of them, or none.

import Diagnostics
import Foundation
import Inputs

/// Writes the files of a simulation.
enum SimulatedFiles {
    /// Has files written into a hidden directory beside `directory`, which is renamed at the end: the directory is complete or as it was before.
    /// - Parameters:
    ///   - replacing: which of the names in a directory that is there already are this simulation's own: these are replaced, and other files stay.
    ///     `nil` refuses a directory that holds anything.
    ///   - body: writes into the folder that it is given, and names the files.
    /// - Throws: `UserError(.usage)` when the directory holds files that may not be replaced; `UserError(.inputOutput)` when writing fails.
    static func write(to directory: String, replacing: ((String) -> Bool)?, _ body: (_ folder: String) throws -> [String]) throws {
        let target = directory.count > 1 && directory.hasSuffix("/") ? String(directory.dropLast()) : directory
        let manager = FileManager.default
        let present = try contents(of: target)
        if let first = present?.first, replacing == nil {
            throw UserError(
                .usage, "the output directory is not empty (it holds \(first))", at: directory,
                advice: "name another, or give --force to replace its files")
        }
        let url = URL(fileURLWithPath: target)
        let partial = url.deletingLastPathComponent().appendingPathComponent(
            ".\(url.lastPathComponent).partial-\(ProcessInfo.processInfo.processIdentifier)")
        try reporting(directory) { try manager.createDirectory(at: partial, withIntermediateDirectories: true) }
        defer { try? manager.removeItem(at: partial) }
        let names = try body(partial.path)
        guard let present else { return try reporting(directory) { try manager.moveItem(at: partial, to: url) } }
        for name in present where replacing?(name) == true {
            try reporting(directory) { try manager.removeItem(at: url.appendingPathComponent(name)) }
        }
        for name in names {
            try reporting(directory) { try manager.moveItem(at: partial.appendingPathComponent(name), to: url.appendingPathComponent(name)) }
        }
    }

    /// Writes pieces of text one after the other into a new file, and gives its size in bytes.
    /// - Throws: `UserError(.inputOutput)`.
    static func write(_ pieces: some Sequence<String>, to path: String) throws -> Int {
        guard let stream = fopen(path, "wx") else {
            throw UserError(
                .inputOutput, "cannot create the file: \(String(cString: strerror(errno)))", at: path, advice: "check permissions and free space")
        }
        var (bytes, failure) = (0, CInt(0))
        for var text in pieces {
            let written = text.withUTF8 { fwrite($0.baseAddress, 1, $0.count, stream) == $0.count }
            bytes += text.utf8.count
            if !written {
                failure = errno
                break
            }
        }
        // What is still buffered is written now, so closing may be what fails.
        if fclose(stream) != 0, failure == 0 { failure = errno }
        guard failure == 0 else {
            throw UserError(
                .inputOutput, "cannot write the file: \(String(cString: strerror(failure)))", at: path, advice: "check the free space of the device")
        }
        return bytes
    }

    /// The names in a directory, sorted; `nil` when there is no directory.
    private static func contents(of directory: String) throws -> [String]? {
        switch InputFiles.kind(of: directory) {
        case .absent:
            return nil
        case .file, .pipe, .socket, .device:
            throw UserError(.usage, "is a file where an output directory was expected", at: directory, advice: "name another directory")
        case .directory:
            return try reporting(directory) { try FileManager.default.contentsOfDirectory(atPath: directory).sorted() }
        }
    }

    /// Runs `body`, and makes an error of the file system one that names the directory.
    private static func reporting<Result>(_ directory: String, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch {
            let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
            let reason = cause.map { String(cString: strerror(Int32($0.code))) } ?? error.localizedDescription
            throw UserError(.inputOutput, "cannot write the directory: \(reason)", at: directory, advice: "check permissions and free space")
        }
    }
}
