// The files of dialog bAbI (Bordes, Boureau and Weston 2017, "Learning end-to-end goal-oriented dialog") in a directory.

import Diagnostics
import Inputs

/// A directory of dialog bAbI files: `dialog-babi-task1-API-calls-trn.txt`, and lists of candidates.
public struct DialogDirectory: Sendable {
    /// Tasks 1 to 6; the last, of the DSTC2 set, has candidates of its own.
    public static let taskCount = 6
    /// The directory, as the user gave it.
    public let path: String
    /// What lies there and is not read, but for files of other names.
    public let passedOver: [PassedOver]
    private let files: [String]

    /// - Throws: `UserError` (.missingInput) where the directory does not exist or holds no dialogs.
    public init(path: String) throws {
        if path.hasSuffix(".tar.gz") || path.hasSuffix(".tgz") {
            throw UserError(
                .missingInput, "is an archive", at: path,
                advice: "name the folder in it that holds dialog-babi-candidates.txt, as in \(path):folder, or unpack it with tar xzf")
        }
        self.path = path
        let inputs = try InputFiles.list([path], wanted: "dialog bAbI files (dialog-babi-task1-...-trn.txt)") {
            $0.hasPrefix("dialog-babi-") && $0.hasSuffix(".txt")
        }
        files = inputs.flatMap(\.files)
        passedOver = inputs.flatMap(\.passedOver).filter { $0.reason != .otherName }
    }

    /// The files of some tasks' split (`trn`, `dev`, `tst`), in the order of the tasks.
    /// - Throws: `UserError` (.missingInput) that names a task without one.
    public func files(tasks: [Int], split: String) throws -> [(path: String, task: Int)] {
        try tasks.map { task in
            guard let file = files.first(where: { name(of: $0).hasPrefix("dialog-babi-task\(task)-") && $0.hasSuffix("-\(split).txt") }) else {
                throw UserError(.missingInput, "there is no \(split) file of dialog task \(task)", at: path, advice: "check task.data and task.tasks")
            }
            return (file, task)
        }
    }

    /// The replies to choose from.
    /// - Throws: `UserError` where the list is missing, has no line, or one that is not UTF-8.
    public func candidates(tasks: [Int]) throws -> [String] {
        let names = Set(tasks.map { $0 == 6 ? "dialog-babi-task6-dstc2-candidates.txt" : "dialog-babi-candidates.txt" })
        var result: [String] = []
        for wanted in names.sorted() {
            guard let file = files.first(where: { name(of: $0) == wanted }) else {
                throw UserError(.missingInput, "there is no \(wanted)", at: path, advice: "copy the whole set")
            }
            let reader = try LineReader(path: file)
            while try reader.advance() {
                if let fault = reader.fault {
                    throw UserError(.badData, fault.what, at: "\(file):\(reader.lineNumber)", advice: "copy the list of candidates again")
                }
                // "1 reply": each line has the number 1.
                let reply = BabiLine(reader.line).text
                if !reply.isEmpty { result.append(String(decoding: reply, as: UTF8.self)) }
            }
        }
        guard !result.isEmpty else { throw UserError(.badData, "holds no candidate", at: path, advice: "copy the set again") }
        return result
    }

    private func name(of path: String) -> String { InputFiles.name(of: path) }
}

extension StoryVocabulary {
    /// Takes the replies to choose from.
    public mutating func setAnswers(_ answers: [String]) { self.answers = answers }
}
