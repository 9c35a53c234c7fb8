// The section `task` of runs that learn a generated task.

import Configuration
import Corpora
import Diagnostics
import Models

/// The generated tasks by the words that `task.kind` may be.
enum GeneratedTaskKind: String, Sendable, CaseIterable {
    case copy
    case repeatCopy = "repeat-copy"
    case associativeRecall = "associative-recall"
    case delayedCopy = "delayed-copy"
    case adding
    case prioritySort = "priority-sort"
    case overwrite
    case memoryReuse = "memory-reuse"

    /// What makes its sequences, as the section says.
    func generator(_ section: ConfigurationSection) throws -> any SequenceGenerator {
        switch self {
        case .copy:
            return CopyGenerator(bits: try section.int("bits", default: 8, in: 1...), lengths: try section.range("lengths", default: 1...20, from: 1))
        case .repeatCopy:
            return RepeatCopyGenerator(
                bits: try section.int("bits", default: 4, in: 1...), lengths: try section.range("lengths", default: 1...2, from: 1),
                repeats: try section.range("repeats", default: 1...2, from: 1))
        case .associativeRecall:
            return AssociativeRecallGenerator(
                bits: try section.int("bits", default: 6, in: 1...), rows: try section.int("rows", default: 3, in: 1...),
                items: try section.range("items", default: 2...6, from: 2))
        case .delayedCopy:
            return DelayedCopyGenerator(
                symbols: try section.int("symbols", default: 8, in: 2...), length: try section.int("length", default: 5, in: 1...),
                delay: try section.int("delay", default: 20, in: 1...))
        case .adding: return AddingGenerator(length: try section.int("length", default: 50, in: 2...))
        case .prioritySort:
            let length = try section.int("length", default: 20, in: 1...)
            return PrioritySortGenerator(
                bits: try section.int("bits", default: 8, in: 1...), length: length,
                answers: try section.int("answers", default: max(1, length * 4 / 5), in: 1...length))
        case .memoryReuse:
            return ReuseGenerator(
                bits: try section.int("bits", default: 6, in: 1...), items: try section.int("items", default: 12, in: 1...),
                group: try section.int("group", default: 3, in: 1...))
        case .overwrite:
            return OverwriteGenerator(
                keys: try section.int("keys", default: 6, in: 1...), values: try section.int("values", default: 8, in: 2...),
                length: try section.int("length", default: 30, in: 2...))
        }
    }

    /// The shortest length that `withLength` takes.
    var minimumLength: Int {
        switch self {
        case .associativeRecall, .adding, .overwrite: 2
        case .copy, .repeatCopy, .delayedCopy, .prioritySort, .memoryReuse: 1
        }
    }
}

extension GeneratedTaskSettings {
    /// Reads the sections `task`, but for its kind, and `model`.
    /// - Throws: `UserError` (configuration).
    init(_ kind: GeneratedTaskKind, task: ConfigurationSection, model: ConfigurationSection) throws {
        self.init(
            generator: try kind.generator(task), examples: try task.int("examples", default: 1024, in: 1...),
            testLengths: try task.ints("testLengths", default: [], in: kind.minimumLength...), model: try SequenceModelConfiguration(model))
    }
}

extension ConfigurationSection {
    /// A range of integers: `[1, 20]`, or one number for a range of one.
    fileprivate func range(_ key: String, default defaultValue: ClosedRange<Int>, from least: Int) throws -> ClosedRange<Int> {
        let bounds = try ints(key, default: [defaultValue.lowerBound, defaultValue.upperBound], in: least...)
        guard let first = bounds.first, let last = bounds.last, bounds.count <= 2, first <= last else {
            throw error(
                key, "is no range", advice: "write the smallest and the largest, such as [\(defaultValue.lowerBound), \(defaultValue.upperBound)]")
        }
        return first...last
    }
}
