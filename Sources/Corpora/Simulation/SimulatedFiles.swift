// A directory of files that a simulation writes: all of them, or none.

import Diagnostics
import Foundation
import Inputs
import Storage

/// Writes the files of a simulation.
enum SimulatedFiles {
    /// Has files written into a hidden directory beside `directory`, which is renamed at the end: the directory is complete or as it was before.
    /// - Parameters:
    ///   - replacing: which of the names in a directory that is there already are this simulation's own: these are replaced, and other files stay.
    ///     `nil` refuses a directory that holds anything.
    ///   - body: writes into the folder that it is given, and names the files.
    /// - Throws: `UserError(.usage)` when the directory holds files that may not be replaced; `UserError(.inputOutput)` when writing fails.
    static func write(to directory: String, replacing: ((String) -> Bool)?, _ body: (_ folder: String) throws -> [String]) throws {
        let present = try contents(of: directory)
        if let first = present?.first, replacing == nil {
            throw UserError(
                .usage, "the output directory is not empty (it holds \(PathText.shown(first)))", at: directory,
                advice: "name another, or give --force to replace its files")
        }
        let partial = Directory.path(of: ".\(Directory.lastName(of: directory)).partial-\(getpid())", in: Directory.parent(of: directory))
        try Directory.make(partial)
        defer { try? Directory.remove(partial) }
        let names = try body(partial)
        guard let present else { return try Directory.rename(partial, to: directory) }
        for name in present where replacing?(name) == true { try Directory.remove(Directory.path(of: name, in: directory)) }
        for name in names { try Directory.rename("\(partial)/\(name)", to: Directory.path(of: name, in: directory)) }
    }

    /// Writes pieces of text one after the other into a new file, and gives its size in bytes.
    /// - Throws: `UserError(.inputOutput)`.
    static func write(_ pieces: some Sequence<String>, to path: String) throws -> Int {
        guard let stream = withSystemPath(path, { fopen($0, "wx") }) else {
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
            return try Directory.names(in: directory)
        }
    }
}
