// What `mneme evaluate` asks a task, and what the task answers.

import Diagnostics
import Foundation

/// An option of an evaluation; its name is that of the command's option. A task says which of them mean something to it.
public enum EvaluationOption: String, Sendable, CaseIterable {
    case part, people, corpus, limit, beam, batch
    case lengthPenalty = "length-penalty"
    case maximumTokens = "maximum-tokens"
    case bank, cache

    /// Those that say what is read beside the model.
    public static let memory: Set<EvaluationOption> = [.bank, .cache]
    /// Those that decide how text is generated.
    public static let generating: Set<EvaluationOption> = [.limit, .beam, .batch, .lengthPenalty, .maximumTokens]
}

/// What is to be measured. Where nothing is given, a task measures what it thinks best.
public struct EvaluationRequest: Sendable {
    /// The run directory, which errors name.
    public var directory: String
    /// Which examples.
    public var part: EvaluationPart?
    /// Which people's facts are asked for; `nil` for those of the part.
    public var people: Range<Int>?
    /// A corpus directory instead of the run's own validation corpus.
    public var corpus: String?
    /// Only the first so many targets are generated.
    public var limit: Int?
    /// How they are generated.
    public var generation: GenerationRequest
    /// What a language model is read together with.
    public var memory = MemoryReading()

    /// A request for a run directory.
    public init(
        directory: String, part: EvaluationPart? = nil, corpus: String? = nil, limit: Int? = nil, generation: GenerationRequest = GenerationRequest()
    ) {
        self.directory = directory
        self.part = part
        self.corpus = corpus
        self.limit = limit
        self.generation = generation
    }

    /// The options that were given.
    public var given: [EvaluationOption] {
        let all: [(EvaluationOption, Bool)] = [
            (.part, part != nil), (.people, people != nil), (.corpus, corpus != nil), (.limit, limit != nil), (.beam, generation.beamSize != nil),
            (.batch, generation.batchSize != nil), (.lengthPenalty, generation.lengthPenalty != nil),
            (.maximumTokens, generation.maximumTokens != nil), (.bank, memory.bank != nil), (.cache, memory.cache != nil),
        ]
        return all.filter(\.1).map(\.0)
    }

    /// Makes sure that every option given means something.
    /// - Parameter what: what the other options mean nothing to: a task, a corpus.
    /// - Throws: `UserError` (.usage) that names the option.
    func require(_ known: Set<EvaluationOption>, of what: String) throws {
        guard let option = given.first(where: { !known.contains($0) }) else { return }
        let names = known.map { "--\($0.rawValue)" }.sorted().joined(separator: ", ")
        throw UserError(
            .usage, "means nothing to \(what)", at: "--\(option.rawValue)",
            advice: names.isEmpty ? "leave it out" : "leave it out; \(names) may be given")
    }
}

/// What a task found, for people and for programs.
public struct EvaluationReport: Sendable, Encodable {
    /// A figure or a name, as it stands in JSON; what is not a finite number is null.
    public enum Value: Sendable, Encodable {
        case text(String)
        case count(Int)
        case number(Double?)
        case counts([Int])
        case group([String: Value])

        public func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .text(let text): try container.encode(text)
            case .count(let count): try container.encode(count)
            case .number(let number): if let number, number.isFinite { try container.encode(number) } else { try container.encodeNil() }
            case .counts(let counts): try container.encode(counts)
            case .group(let values): try container.encode(values)
            }
        }
    }

    /// By name, in snake case.
    public private(set) var values: [String: Value] = [:]
    /// What people read: a name in front of a line, or none.
    public private(set) var lines: [(name: String, text: String)] = []

    /// Nothing found yet.
    public init() {}

    /// Adds a figure for programs.
    public mutating func set(_ name: String, _ value: Value) { values[name] = value }

    /// Adds a line for people.
    public mutating func say(_ name: String, _ text: String) { lines.append((name, text)) }

    /// Puts another report before this one.
    public mutating func prepend(_ other: EvaluationReport) {
        values.merge(other.values) { mine, _ in mine }
        lines = other.lines + lines
    }

    /// The lines as a table.
    public var text: String {
        let width = max(17, (lines.map(\.name.count).max() ?? 0) + 3)
        return lines.map { $0.name.padding(toLength: width, withPad: " ", startingAt: 0) + $0.text + "\n" }.joined()
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(values)
    }
}

extension EvaluationReport {
    /// The scores of a part of a task.
    init(task: String, part: EvaluationPart, _ scores: TaskScores) {
        set("task", .text(task))
        set("part", .text(part.rawValue))
        set("examples", .count(scores.examples))
        say("task", task)
        say("examples", "\(scores.examples), \(part.rawValue)")
        if let loss = scores.loss {
            set("loss", .number(loss))
            say("loss", "\(Self.number(loss)) nats an answer")
        }
        for score in scores.scores + scores.details {
            set(score.name, .number(score.value))
            say(score.name.replacing("_", with: " "), Self.number(score.value))
        }
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e9 ? "\(Int(value))" : String(format: "%.4f", value)
    }
}
