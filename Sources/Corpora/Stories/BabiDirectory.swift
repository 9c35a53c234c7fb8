// The files of bAbI's question-answering tasks in a directory.

import Diagnostics
import Inputs

/// A directory of bAbI files, such as `en` or `en-10k`.
public struct BabiDirectory: Sendable {
    /// The directory, as the user gave it.
    public let path: String
    /// What lies there and is not read, but for files of other names.
    public let passedOver: [PassedOver]
    private let files: [String]

    /// - Throws: `UserError` (.missingInput) where the directory does not exist or holds no task.
    public init(path: String) throws {
        if path.hasSuffix(".tar.gz") || path.hasSuffix(".tgz") {
            throw UserError(
                .missingInput, "is an archive", at: path,
                advice: "name the folder in it that holds qa1_..._train.txt, as in \(path):folder, or unpack it with tar xzf")
        }
        self.path = path
        let inputs = try InputFiles.list([path], wanted: "bAbI task files (qa1_..._train.txt)") { name in
            ["train", "test", "valid"].contains { BabiTask.isFile(name, ofSplit: $0) }
        }
        files = inputs.flatMap(\.files)
        passedOver = inputs.flatMap(\.passedOver).filter { $0.reason != .otherName }
    }

    /// The file of a task's split; `nil` where there is none.
    public func file(task: Int, split: String) -> String? {
        files.first { BabiTask.label(ofFile: $0).number == task && BabiTask.isFile(InputFiles.name(of: $0), ofSplit: split) }
    }

    /// The tasks of which a split is there.
    public func tasks(split: String) -> [Int] { (1...BabiTask.allCases.count).filter { file(task: $0, split: split) != nil } }

    /// The files of some tasks' split, in the order of the tasks.
    /// - Throws: `UserError` (.missingInput) that names a task without one.
    public func files(tasks: [Int], split: String) throws -> [(path: String, task: Int)] {
        try tasks.map { task in
            guard let file = file(task: task, split: split) else {
                let others = self.tasks(split: split).map(\.description).joined(separator: ", ")
                throw UserError(
                    .missingInput, "there is no \(split) file of task \(task)", at: path,
                    advice: others.isEmpty ? "name a directory with files such as qa\(task)_..._\(split).txt" : "the tasks there: \(others)")
            }
            return (file, task)
        }
    }
}
