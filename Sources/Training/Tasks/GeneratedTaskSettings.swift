// The section `task` of runs that learn a generated task.

import Configuration
import Corpora
import Diagnostics
import Models

extension GeneratedTaskSettings {
    /// Reads the keys that all generated tasks have, and the section `model`.
    /// - Parameter minimumLength: the shortest length that the generator's `withLength` takes.
    /// - Throws: `UserError` (configuration).
    init(_ generator: any SequenceGenerator, _ task: ConfigurationSection, minimumLength: Int = 1, model: ConfigurationSection) throws {
        self.init(
            generator: generator,
            examples: try task.int("examples", "Sequences of one evaluation.", default: 1024, in: 1..., onResume: .free),
            testLengths: try task.ints(
                "testLengths", "Lengths beside those of training that mneme evaluate measures.", default: [], in: minimumLength...SizeLimits.generatedLength.upperBound,
                onResume: .free),
            model: try SequenceModelConfiguration(model))
    }
}

// What the section says about each generator; all of it may throw `UserError` (configuration).

extension CopyGenerator {
    init(_ section: ConfigurationSection) throws {
        self.init(
            bits: try section.bits(default: 8), lengths: try section.range("lengths", "Vectors of a sequence.", default: 1...20, from: 1))
    }
}

extension RepeatCopyGenerator {
    init(_ section: ConfigurationSection) throws {
        self.init(
            bits: try section.bits(default: 4), lengths: try section.range("lengths", "Vectors of a sequence.", default: 1...2, from: 1),
            repeats: try section.range("repeats", "How often the sequence is given back.", default: 1...2, from: 1))
    }
}

extension AssociativeRecallGenerator {
    init(_ section: ConfigurationSection) throws {
        self.init(
            bits: try section.bits(default: 6), rows: try section.int("rows", "Vectors of an item.", default: 3, in: SizeLimits.generatedWidth),
            items: try section.range("items", "Items of a sequence.", default: 2...6, from: 2))
    }
}

extension DelayedCopyGenerator {
    init(_ section: ConfigurationSection) throws {
        self.init(
            symbols: try section.int("symbols", "Different symbols.", default: 8, in: 2...SizeLimits.generatedLength.upperBound),
            length: try section.int("length", "Symbols to remember.", default: 5, in: SizeLimits.generatedLength),
            delay: try section.int("delay", "Steps between the last symbol and the answer.", default: 20, in: SizeLimits.generatedLength))
    }
}

extension AddingGenerator {
    init(_ section: ConfigurationSection) throws {
        self.init(length: try section.int("length", "Steps of a sequence.", default: 50, in: 2...SizeLimits.generatedLength.upperBound))
    }
}

extension PrioritySortGenerator {
    init(_ section: ConfigurationSection) throws {
        let length = try section.int("length", "Vectors of a sequence.", default: 20, in: SizeLimits.generatedLength)
        let answers = try section.int(
            "answers", "How many vectors are given back, those of the highest priority.", default: max(1, length * 4 / 5),
            defaultText: "four fifths of task.length", in: SizeLimits.generatedLength)
        guard answers <= length else { throw section.error("answers", "is \(answers), more than task.length, \(length)") }
        self.init(bits: try section.bits(default: 8), length: length, answers: answers)
    }
}

extension OverwriteGenerator {
    init(_ section: ConfigurationSection) throws {
        self.init(
            keys: try section.int("keys", "Different keys.", default: 6, in: SizeLimits.generatedLength),
            values: try section.int("values", "Different values.", default: 8, in: 2...SizeLimits.generatedLength.upperBound),
            length: try section.int("length", "Writes and reads of a sequence.", default: 30, in: 2...SizeLimits.generatedLength.upperBound))
    }
}

extension ReuseGenerator {
    init(_ section: ConfigurationSection) throws {
        self.init(
            bits: try section.bits(default: 6), items: try section.int("items", "Vectors of a sequence.", default: 12, in: SizeLimits.generatedLength),
            group: try section.int("group", "Vectors that are read before they are given back.", default: 3, in: SizeLimits.generatedLength))
    }
}

extension ConfigurationSection {
    fileprivate func bits(default value: Int) throws -> Int { try int("bits", "Bits of a vector.", default: value, in: SizeLimits.generatedWidth) }

    /// A range of integers: `[1, 20]`, or one number for a range of one.
    fileprivate func range(_ key: String, _ meaning: String, default value: ClosedRange<Int>, from least: Int) throws -> ClosedRange<Int> {
        let bounds = try ints(
            key, "\(meaning) The smallest and the largest number, or one for both.", default: [value.lowerBound, value.upperBound],
            in: least...SizeLimits.generatedWidth.upperBound)
        guard let first = bounds.first, let last = bounds.last, bounds.count <= 2, first <= last else {
            throw error(
                key, "is no range", advice: "write the smallest and the largest, such as [\(value.lowerBound), \(value.upperBound)]")
        }
        return first...last
    }
}
