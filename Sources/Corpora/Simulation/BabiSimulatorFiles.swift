// Writing simulated stories as a directory of bAbI files.

import Diagnostics
import Foundation
import Inputs

extension BabiSimulator {
    /// What was written.
    public struct Summary: Sendable, Hashable, Codable {
        /// One file.
        public struct File: Sendable, Hashable, Codable {
            /// Its name in the directory.
            public var name: String
            /// The task's number, 1 ... 20.
            public var task: Int
            /// The part of the data.
            public var split: Split
            /// Stories in it.
            public var stories: Int
            /// Questions in it.
            public var questions: Int
            /// Its size.
            public var bytes: Int
        }

        /// The directory that was written.
        public var directory: String
        /// The simulator's seed.
        public var seed: UInt64
        /// By task and split.
        public var files: [File]
    }

    /// Writes the files of `tasks` into `directory`: `<label>_<split>.txt` for every split with a count above 0.
    ///
    /// Files are written into a hidden directory beside it, which is renamed at the end: the directory is complete or as it was before.
    /// With `replacing`, the task files that a directory holds are replaced, and its other files stay.
    /// - Parameter counts: stories per task for each split.
    /// - Throws: `UserError(.usage)` when the directory holds files and `replacing` is false; `UserError(.inputOutput)` when writing fails.
    public func write(tasks: [BabiTask], counts: [Split: Int], to directory: String, replacing: Bool = false) throws -> Summary {
        let target = directory.count > 1 && directory.hasSuffix("/") ? String(directory.dropLast()) : directory
        let manager = FileManager.default
        let present = try Self.contents(of: target)
        if let first = present?.first, !replacing {
            throw UserError(
                .usage, "the output directory is not empty (it holds \(first))", at: directory,
                advice: "name another, or give --force to replace its files")
        }
        let url = URL(fileURLWithPath: target)
        let partial = url.deletingLastPathComponent().appendingPathComponent(
            ".\(url.lastPathComponent).partial-\(ProcessInfo.processInfo.processIdentifier)")
        try Self.reporting(directory) { try manager.createDirectory(at: partial, withIntermediateDirectories: true) }
        defer { try? manager.removeItem(at: partial) }
        var summary = Summary(directory: directory, seed: seed, files: [])
        for task in tasks {
            for split in Split.allCases {
                guard let count = counts[split], count > 0 else { continue }
                let path = partial.appendingPathComponent(task.fileName(split: split.rawValue)).path
                summary.files.append(try write(task: task, split: split, count: count, to: path))
            }
        }
        if let present {
            for name in present where Split.allCases.contains(where: { BabiTask.isFile(name, ofSplit: $0.rawValue) }) {
                try Self.reporting(directory) { try manager.removeItem(at: url.appendingPathComponent(name)) }
            }
            for file in summary.files {
                try Self.reporting(directory) {
                    try manager.moveItem(at: partial.appendingPathComponent(file.name), to: url.appendingPathComponent(file.name))
                }
            }
        } else {
            try Self.reporting(directory) { try manager.moveItem(at: partial, to: url) }
        }
        return summary
    }

    private func write(task: BabiTask, split: Split, count: Int, to path: String) throws -> Summary.File {
        guard let stream = fopen(path, "wx") else {
            throw UserError(
                .inputOutput, "cannot create the file: \(String(cString: strerror(errno)))", at: path, advice: "check permissions and free space")
        }
        var file = Summary.File(name: task.fileName(split: split.rawValue), task: task.number, split: split, stories: count, questions: 0, bytes: 0)
        var failure: CInt = 0
        for index in 0..<count {
            let story = story(task: task, index: index, split: split)
            file.questions += story.questionCount
            var text = story.text
            let written = text.withUTF8 { fwrite($0.baseAddress, 1, $0.count, stream) == $0.count }
            file.bytes += text.utf8.count
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
        return file
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
