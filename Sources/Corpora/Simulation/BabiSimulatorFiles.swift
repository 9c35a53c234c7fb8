// Writing simulated stories as a directory of bAbI files.

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
    /// See ``SimulatedFiles``: with `replacing`, the task files that a directory holds are replaced.
    /// - Parameter counts: stories per task for each split.
    /// - Throws: `UserError(.usage)` when the directory holds files and `replacing` is false; `UserError(.inputOutput)` when writing fails.
    public func write(tasks: [BabiTask], counts: [Split: Int], to directory: String, replacing: Bool = false) throws -> Summary {
        var summary = Summary(directory: directory, seed: seed, files: [])
        let isTaskFile = { (name: String) in Split.allCases.contains { BabiTask.isFile(name, ofSplit: $0.rawValue) } }
        try SimulatedFiles.write(to: directory, replacing: replacing ? isTaskFile : nil) { folder in
            for task in tasks {
                for split in Split.allCases {
                    guard let count = counts[split], count > 0 else { continue }
                    summary.files.append(try write(task: task, split: split, count: count, in: folder))
                }
            }
            return summary.files.map(\.name)
        }
        return summary
    }

    private func write(task: BabiTask, split: Split, count: Int, in folder: String) throws -> Summary.File {
        var file = Summary.File(name: task.fileName(split: split.rawValue), task: task.number, split: split, stories: count, questions: 0, bytes: 0)
        let stories = (0..<count).lazy.map { index in
            let story = story(task: task, index: index, split: split)
            file.questions += story.questionCount
            return story.text
        }
        file.bytes = try SimulatedFiles.write(stories, to: "\(folder)/\(file.name)")
        return file
    }
}
