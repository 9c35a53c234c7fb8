// The section `task` of runs that learn a generated task.

import Configuration
import Corpora
import Diagnostics
import Models

extension GeneratedTaskSettings {
    /// Reads the keys that all generated tasks have, and the section `model`. Tasks of symbols and classes take language models too.
    /// - Parameters:
    ///   - minimumLength: the shortest length that the generator's `withLength` takes.
    ///   - maximumLength: the longest.
    /// - Throws: `UserError` (configuration).
    init(
        _ generator: any SequenceGenerator, _ task: ConfigurationSection, minimumLength: Int = 1,
        maximumLength: Int = SizeLimits.generatedLength.upperBound, model: ConfigurationSection
    ) throws {
        let examples = try task.int("examples", "Sequences of one evaluation.", default: 1024, in: 1..., onResume: .free)
        let testLengths = try task.ints(
            "testLengths", "Lengths beside those of training that mneme evaluate measures.", default: [],
            in: minimumLength...SizeLimits.generatedLength.upperBound, onResume: .free)
        if let length = testLengths.first(where: { $0 > maximumLength }) {
            throw task.error("testLengths", "has \(length), more than the task can be made with: \(maximumLength)")
        }
        let longest = testLengths.map { generator.withLength($0).longest }.max() ?? 0
        self.init(
            generator: generator, examples: examples, testLengths: testLengths,
            model: try Self.readModel(model, longest: max(longest, generator.longest), generator))
    }

    /// Reads the section `model`.
    /// - Parameter longest: the steps of the longest sequence that is trained or measured.
    private static func readModel(_ section: ConfigurationSection, longest: Int, _ generator: any SequenceGenerator) throws -> Learner {
        guard TokenSequenceModel.vocabularySize(SequenceModelForm(generator)) != nil else { return .steps(try SequenceModelConfiguration(section)) }
        let kind = try section.choice("kind", modelKindMeaning, of: ModelKind.cores + ModelKind.tokenReaders)
        if ModelKind.cores.contains(kind) { return .steps(try SequenceModelConfiguration(kind, section)) }
        let model = try readModelConfiguration(kind, section)
        guard section.fillsIn || !model.carriesMemory else {
            throw section.error(
                model.carryKey, "goes with a corpus: the sequences of a generated task do not follow one another", advice: model.carryAdvice)
        }
        if let most = model.maximumLength, most < longest, !section.fillsIn {
            throw section.error("context", "is \(most), and sequences of the task have up to \(longest) steps")
        }
        return .tokens(model)
    }
}

extension SequenceGenerator {
    /// T of the longest of some sequences as they are drawn in training.
    var longest: Int {
        var choices = SeededChoices(seed: 0, path: [0])
        return (0..<64).map { _ in steps(drawSizes(&choices)) }.max() ?? 0
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

extension KeyValueRecallGenerator {
    init(_ section: ConfigurationSection) throws {
        let standard = KeyValueRecallGenerator()
        let vocabulary = try section.int(
            "vocabulary", "Symbols: the blank, keys below the middle, values from there.", default: standard.vocabulary,
            in: 4...SizeLimits.generatedLength.upperBound)
        let pairs = try section.range("pairs", "Keys of a sequence, each with a value.", default: standard.pairs, from: 1)
        let rewrites = try section.int(
            "rewrites", "How often a key is written again with another value; the newest is asked for.", default: standard.rewrites,
            in: 0...SizeLimits.generatedLength.upperBound)
        let length = try section.int("length", "Steps of a sequence.", default: standard.length, in: 4...SizeLimits.generatedLength.upperBound)
        let gapPower = try section.double(
            "gapPower", "How soon keys are asked for: a place has a weight of itself to the power of this less 1, and 1 makes all alike.",
            default: standard.gapPower, in: Double.leastNonzeroMagnitude...10)
        let noise = try section.bool("noise", "Steps that hold nothing hold any symbol instead of the blank.", default: standard.noise)
        if let problem = Self.problem(vocabulary: vocabulary, pairs: pairs, rewrites: rewrites, length: length) {
            throw section.error(problem.key, problem.what)
        }
        self.init(vocabulary: vocabulary, pairs: pairs, rewrites: rewrites, length: length, gapPower: gapPower, noise: noise)
    }
}

extension GeneratedTaskSettings {
    /// The same for key-value recall, whose vocabulary limits the pairs.
    init(recall generator: KeyValueRecallGenerator, _ task: ConfigurationSection, model: ConfigurationSection) throws {
        try self.init(generator, task, maximumLength: generator.vocabulary / 2 - max(1, generator.rewrites), model: model)
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
