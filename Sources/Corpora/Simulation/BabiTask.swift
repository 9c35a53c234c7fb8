// The twenty tasks of bAbI (Weston et al. 2015, "Towards AI-complete question answering", table 1) and how their files are named.

import Inputs

/// A task of the bAbI set.
public struct BabiTask: Sendable, Hashable, CaseIterable {
    /// 1 to 20.
    public let number: Int

    /// - Returns: `nil` unless `number` is 1 to 20.
    public init?(_ number: Int) {
        guard (1...Self.slugs.count).contains(number) else { return nil }
        self.number = number
    }

    private init(unchecked number: Int) {
        self.number = number
    }

    /// Tasks 1 to 20.
    public static let allCases: [BabiTask] = slugs.indices.map { BabiTask(unchecked: $0 + 1) }

    private static let slugs = [
        "single-supporting-fact", "two-supporting-facts", "three-supporting-facts", "two-arg-relations", "three-arg-relations", "yes-no-questions",
        "counting", "lists-sets", "simple-negation", "indefinite-knowledge", "basic-coreference", "conjunction", "compound-coreference",
        "time-reasoning", "basic-deduction", "basic-induction", "positional-reasoning", "size-reasoning", "path-finding", "agents-motivations",
    ]

    /// The task's name in file names, e.g. "qa1_single-supporting-fact".
    public var label: String { "qa\(number)_\(Self.slugs[number - 1])" }

    /// The name of the task's file for a split, e.g. "qa1_single-supporting-fact_train.txt".
    public func fileName(split: String) -> String { "\(label)_\(split).txt" }

    /// The task that a file's name tells. "qa3_train.txt", as the sets with a validation split name it, is task 3 with its full label. A file that is
    /// not named after a task has its name as label, and sorts behind the tasks.
    package static func label(ofFile path: String) -> FileLabel {
        var name = InputFiles.name(of: path)
        for suffix in [".gz", ".txt", "_train", "_test", "_valid"] where name.hasSuffix(suffix) { name.removeLast(suffix.count) }
        guard name.hasPrefix("qa") else { return FileLabel(number: .max, name: name) }
        let digits = name.dropFirst(2).prefix { $0.isASCII && $0.isNumber }
        guard let number = Int(digits) else { return FileLabel(number: .max, name: name) }
        let isBare = digits.count == name.count - 2
        return FileLabel(number: number, name: isBare ? BabiTask(number)?.label ?? name : name)
    }

    /// What a file's name tells of its task.
    package struct FileLabel: Hashable, Sendable {
        package var number: Int
        package var name: String
    }

    /// True for the name of a task file of `split`: "qa1_..._train.txt" or "qa1_train.txt", `.gz` or not.
    package static func isFile(_ name: String, ofSplit split: String) -> Bool {
        guard name.hasPrefix("qa"), name.dropFirst(2).first?.isNumber == true else { return false }
        return name.hasSuffix("_\(split).txt") || name.hasSuffix("_\(split).txt.gz")
    }
}
