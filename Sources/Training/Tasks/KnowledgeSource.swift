// Facts and questions of a knowledge task, from files or from a generator.

import Corpora
import Diagnostics

/// What a knowledge task learns from and is measured on.
struct KnowledgeSource {
    var facts: [KnowledgeFact] = []
    /// Entities, those without facts included.
    var entities: [String] = []
    var training: [KnowledgeQuestion] = []
    var validation: [KnowledgeQuestion] = []
    var test: [KnowledgeQuestion] = []
    /// What was passed over, for the user.
    var notes: [String] = []

    /// - Throws: `UserError` where files cannot be read, or too many lines are wrong.
    init(_ settings: KnowledgeTaskSettings, seed runSeed: UInt64) throws {
        let seed = settings.seed ?? runSeed
        if settings.source == .generated {
            let made = SyntheticKnowledge(films: settings.films, heldOut: settings.heldOut, seed: seed)
            facts = settings.rules.layout == .triple ? made.facts : made.sentences(seed: seed)
            entities = Self.entities(of: made.facts)
            (training, validation, test) = (made.training, made.validation, made.test)
            return
        }
        let base: KnowledgeBaseReader.Result
        let names = try settings.entities.map { try KnowledgeBaseReader.names(path: $0) } ?? []
        switch settings.source {
        case .metaqa: base = try KnowledgeBaseReader.numberedTriples(directory: settings.data, skipLimit: settings.skipLimit)
        case .wikimovies: base = try KnowledgeBaseReader.numberedLines(path: settings.data, names: names, skipLimit: settings.skipLimit)
        case .lines, .generated: base = try KnowledgeBaseReader.barredLines(path: settings.data, skipLimit: settings.skipLimit)
        }
        (facts, entities) = (base.facts, base.entities)
        notes += [base.skipped.report].compactMap { $0 }
        guard !facts.isEmpty else {
            throw UserError(.badData, "holds no fact", at: settings.data, advice: "check that the file has the form that task.source says")
        }

        let questions = try read(settings.questions, kinds: settings.kinds, names, settings.skipLimit)
        guard !questions.isEmpty else {
            throw UserError(.badData, "holds no question", at: settings.questions, advice: "check that its lines are question<TAB>answer|answer")
        }
        let validationFile = try settings.validation.map { try read($0, kinds: nil, names, settings.skipLimit) }
        let testFile = try settings.test.map { try read($0, kinds: nil, names, settings.skipLimit) }
        // Parts that have no file of their own are taken from the training questions.
        let shares = [settings.split[0], validationFile == nil ? settings.split[1] : 0, testFile == nil ? settings.split[2] : 0]
        let parts = KnowledgeQuestion.divided(questions, shares: shares, seed: seed)
        training = parts[0]
        validation = validationFile ?? parts[1]
        test = testFile ?? parts[2]
    }

    private mutating func read(_ path: String, kinds: String?, _ names: [String], _ skipLimit: Int) throws -> [KnowledgeQuestion] {
        let read = try KnowledgeQuestionReader.read(path: path, kinds: kinds, names: names + entities, skipLimit: skipLimit)
        notes += [read.skipped.report].compactMap { $0 }
        return read.questions
    }

    private static func entities(of facts: [KnowledgeFact]) -> [String] {
        var seen = Set<String>()
        return facts.flatMap { [$0.subject, $0.object] }.filter { seen.insert($0).inserted }
    }
}
