// Writing a generated knowledge base as files: facts, questions, and a text that says the same.

extension SyntheticKnowledge {
    /// What was written.
    public struct Summary: Sendable, Hashable, Codable {
        /// One file.
        public struct File: Sendable, Hashable, Codable {
            /// Its name in the directory.
            public var name: String
            /// Its lines: facts, questions, or films.
            public var lines: Int
            /// Its size.
            public var bytes: Int
        }

        /// The directory that was written.
        public var directory: String
        /// What the files are a function of, with the numbers of films and of pairs held out.
        public var seed: UInt64
        public var files: [File]
    }

    /// Writes `facts.txt` (`subject|relation|object`), `questions-train.txt`, `questions-valid.txt` and `questions-test.txt`
    /// (`question about [film]<TAB>answer`) for tasks with `source: lines`, and `documents.txt`, where a line says in sentences what is known of a film,
    /// into `directory`: all of them or none.
    /// - Parameters:
    ///   - seed: what chooses the words of the sentences; the seed that the facts were made from.
    ///   - replacing: whether files of these names are replaced in a directory that is not empty.
    /// - Throws: `UserError(.usage)` when the directory holds files and `replacing` is false; `UserError(.inputOutput)` when writing fails.
    public func write(seed: UInt64, to directory: String, replacing: Bool = false) throws -> Summary {
        func asked(_ questions: [KnowledgeQuestion]) -> [String] { questions.map { "\($0.text)\t\($0.answers.joined(separator: "|"))\n" } }
        var sentences: [String: [String]] = [:]
        for sentence in self.sentences(seed: seed) {
            sentences[sentence.subject, default: []].append(sentence.object.filter { $0 != "[" && $0 != "]" } + ".")
        }
        var films = Set<String>()
        let files: [(name: String, lines: [String])] = [
            ("facts.txt", facts.map { "\($0.subject)|\($0.relation ?? "")|\($0.object)\n" }),
            ("questions-train.txt", asked(training)), ("questions-valid.txt", asked(validation)), ("questions-test.txt", asked(test)),
            (
                "documents.txt",
                facts.filter { films.insert($0.subject).inserted }.map { sentences[$0.subject, default: []].joined(separator: " ") + "\n" }
            ),
        ]
        var summary = Summary(directory: directory, seed: seed, files: [])
        let names = Set(files.map(\.name))
        try SimulatedFiles.write(to: directory, replacing: replacing ? { names.contains($0) } : nil) { folder in
            for (name, lines) in files {
                summary.files.append(.init(name: name, lines: lines.count, bytes: try SimulatedFiles.write(lines, to: "\(folder)/\(name)")))
            }
            return files.map(\.name)
        }
        return summary
    }
}
