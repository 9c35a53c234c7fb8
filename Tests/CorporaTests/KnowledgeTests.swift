// Knowledge bases, questions, symbols, key hashing, layouts, the loader and the generated films.

import Corpora
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite struct KnowledgeTests {
    private func write(_ text: String, _ name: String, in directory: String) throws -> String {
        let path = "\(directory)/\(name)"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    // MARK: Readers

    @Test("WikiMovies lines: facts in order, a sentence for a plot, wrong lines counted with their place")
    func wikiMovies() throws {
        try withScratchDirectory { directory in
            let path = try write(
                """
                1 Kismet directed_by William Dieterle
                2 Kismet starred_actors Marlene Dietrich, Edward Arnold
                3 Kismet has_plot A rascal poet, and his daughter.
                4 Kismet starred_actors Edward Arnold

                1 Blood and Sand release_year
                2 Blood and Sand
                3 release_year 1941
                Blood and Sand release_year 1941
                4 Blood and Sand in_language English, , French
                5 Blood and Sand release_year 1941
                """, "kb.txt", in: directory)
            let read = try KnowledgeBaseReader.numberedLines(path: path, skipLimit: 5)
            #expect(
                read.facts == [
                    KnowledgeFact("Kismet", "directed_by", "William Dieterle"), KnowledgeFact("Kismet", "starred_actors", "Marlene Dietrich"),
                    KnowledgeFact("Kismet", "starred_actors", "Edward Arnold"), KnowledgeFact("Kismet", nil, "A rascal poet, and his daughter."),
                    KnowledgeFact("Blood and Sand", "release_year", "1941"),
                ])
            #expect(read.skipped.count == 5)
            #expect(read.skipped.report == "5 records skipped, the first at \(path):6: no object after 'release_year'")
            #expect(read.skipped.examples.map(\.place.line) == [6, 7, 8])
            let error = #expect(throws: UserError.self) { try KnowledgeBaseReader.numberedLines(path: path, skipLimit: 4) }
            #expect(error?.exitCode == .badData)
            #expect(error?.description.contains("\(path):10") == true)
        }
    }

    @Test("triples of numbers and barred lines; missing files, fields and numbers are named")
    func otherForms() throws {
        try withScratchDirectory { directory in
            _ = try write("0\tKismet\n1\tWilliam Dieterle\n2\tNobody\n", "entity2text.txt", in: directory)
            _ = try write("0\tdirected by\n", "relation2text.txt", in: directory)
            let missing = #expect(throws: UserError.self) { try KnowledgeBaseReader.numberedTriples(directory: directory) }
            #expect(missing?.exitCode == .missingInput && missing?.description.contains("train.tsv") == true)
            _ = try write("0\t0\t1\n0\t0\n0\t7\t1\n9\t0\t1\n0\t0\t1\n", "train.tsv", in: directory)
            let read = try KnowledgeBaseReader.numberedTriples(directory: directory, skipLimit: 3)
            #expect(read.facts == [KnowledgeFact("Kismet", "directed by", "William Dieterle")])
            #expect(read.entities == ["Kismet", "William Dieterle", "Nobody"])
            #expect(read.skipped.count == 3)
            #expect(throws: UserError.self) { try KnowledgeBaseReader.numberedTriples(directory: directory) }
            let barred = try write("A|r|B\nA||B\nA|r\n\nA|r|B\n", "kb.txt", in: directory)
            let lines = try KnowledgeBaseReader.barredLines(path: barred, skipLimit: 2)
            #expect(lines.facts == [KnowledgeFact("A", "r", "B")] && lines.skipped.count == 2)
        }
    }

    @Test("questions with and without numbers; lines without a tab or an answer are counted; kinds go by line")
    func questions() throws {
        try withScratchDirectory { directory in
            let path = try write(
                "who directed [Kismet]\tWilliam Dieterle|Vincente Minnelli\nno tab\n1 who wrote Kismet?\tA B, C D\nwho?\t \nx [1941]\ty\n", "q.txt",
                in: directory)
            let kinds = try write("a\nb\nc\nd\ne\n", "kinds.txt", in: directory)
            let read = try KnowledgeQuestionReader.read(path: path, kinds: kinds, skipLimit: 2)
            #expect(
                read.questions == [
                    KnowledgeQuestion(text: "who directed [Kismet]", answers: ["William Dieterle", "Vincente Minnelli"], kind: "a"),
                    KnowledgeQuestion(text: "who wrote Kismet?", answers: ["A B", "C D"], kind: "c"),
                    KnowledgeQuestion(text: "x [1941]", answers: ["y"], kind: "e"),
                ])
            #expect(read.skipped.count == 2)
            let short = try write("a\n", "short.txt", in: directory)
            #expect(throws: UserError.self) { try KnowledgeQuestionReader.read(path: path, kinds: short, skipLimit: 2) }
        }
    }

    @Test("questions are divided by what they ask about, by the seed alone")
    func division() {
        let questions = (0..<300).map { KnowledgeQuestion(text: "what \($0 / 100) is [thing \($0 % 100)]", answers: ["x"]) }
        let parts = KnowledgeQuestion.divided(questions, shares: [0.8, 0.1, 0.1], seed: 4)
        #expect(parts.map(\.count) == [240, 30, 30])
        func topics(_ part: [KnowledgeQuestion]) -> Set<Substring> { Set(part.compactMap { $0.text.split(separator: "[").last }) }
        #expect(
            topics(parts[0]).isDisjoint(with: topics(parts[1])) && topics(parts[1]).isDisjoint(with: topics(parts[2]))
                && topics(parts[0]).isDisjoint(with: topics(parts[2])))
        #expect(KnowledgeQuestion.divided(questions, shares: [0.8, 0.1, 0.1], seed: 4) == parts)
        #expect(KnowledgeQuestion.divided(questions, shares: [0.8, 0.1, 0.1], seed: 5) != parts)
    }

    // MARK: Symbols

    private let vocabulary = SymbolVocabulary(
        words: ["who", "directed", "The", "is", "in", "what", "of"], relations: ["directed by", "in language"],
        entities: ["Kismet", "The Lord", "The Lord of Rings", "What", "kismet", "Blood, Sand!", "German"], spareCount: 2, foldsCase: false)

    @Test("every entity is one symbol by longest match; in brackets it goes by its name; unknown words are told")
    func symbols() {
        func read(_ text: String) -> [String] { vocabulary.symbols(of: text).symbols.map(vocabulary.text(of:)) }
        #expect(read("who directed [Kismet]") == ["who", "directed", "Kismet"])
        #expect(read("Who directed Kismet?") == ["who", "directed", "Kismet"])
        #expect(read("who directed The Lord of Rings") == ["who", "directed", "The Lord of Rings"])
        #expect(read("who directed The Lord of German") == ["who", "directed", "The Lord", "of", "German"])
        #expect(read("who directed Blood Sand") == ["who", "directed", "Blood, Sand!"])
        // A word of questions is an entity in brackets only, or inside the text with another case than words have there.
        #expect(read("what is [What]") == ["what", "is", "What"])
        #expect(read("What is in What") == ["what", "is", "in", "What"])
        #expect(read("") == [] && read("?!") == [])
        let unknown = vocabulary.symbols(of: "who painted [Nobody Known]")
        #expect(unknown.unknown == ["painted", "Nobody Known"] && unknown.symbols == vocabulary.symbols(of: "who").symbols)
        // The case rule: two entities, or one.
        #expect(vocabulary.entity("Kismet") != vocabulary.entity("kismet") && vocabulary.entity("KISMET") == nil)
        let folded = SymbolVocabulary(words: [], relations: [], entities: ["Kismet", "kismet", "X"], spareCount: 0, foldsCase: true)
        #expect(folded.entities == ["Kismet", "X"] && folded.entity("KISMET") == folded.entity("kismet"))
    }

    @Test("spare places are given in order and run out; the vocabulary reads back from JSON as it was made")
    func spare() throws {
        var grown = vocabulary
        let known = grown.learnEntity("Kismet")
        #expect(known == vocabulary.entity("Kismet"))
        let learned = grown.learnEntity("New Film")
        let new = try #require(learned)
        #expect(Int(new) == grown.count - 2 && grown.text(of: new) == "New Film" && grown.symbols(of: "who directed New Film").symbols.last == new)
        let more = [grown.learnEntity("Newer Film"), grown.learnEntity("Newest Film")]
        #expect(more == [new + 1, nil])
        let read = try JSONDecoder().decode(SymbolVocabulary.self, from: JSONEncoder().encode(grown))
        #expect(read == vocabulary && read.count == grown.count)
    }

    // MARK: Layouts and key hashing

    private func frequencies(_ facts: [KnowledgeFact], _ vocabulary: SymbolVocabulary, _ rules: MemoryRules) -> SymbolFrequencies {
        var frequencies = SymbolFrequencies(symbolCount: rules.tableRows(vocabulary))
        for fact in facts { for entry in rules.entries(fact, vocabulary) { frequencies.add(entry.key) } }
        return frequencies
    }

    @Test("the four layouts give the keys and values that they should")
    func layouts() {
        func entries(_ rules: MemoryRules, _ fact: KnowledgeFact) -> [String] {
            let count = Int32(vocabulary.count)
            func text(_ symbols: [Int32]) -> String {
                symbols.map { $0 >= count ? "*" + vocabulary.text(of: $0 - count) : vocabulary.text(of: $0) }.joined(separator: " ")
            }
            return rules.entries(fact, vocabulary).map { "\(text($0.key)) -> \(text($0.value))" }
        }
        let triple = KnowledgeFact("Kismet", "in language", "German")
        let sentence = KnowledgeFact("Kismet", nil, "[Kismet] is in German the of The Lord")
        #expect(entries(MemoryRules(layout: .triple), triple) == ["Kismet in language -> German", "German in language (inverse) -> Kismet"])
        #expect(entries(MemoryRules(layout: .triple), sentence) == [])
        #expect(entries(MemoryRules(layout: .triple), KnowledgeFact("Kismet", "in language", "Unknown")) == [])
        let all = "Kismet is in German the of The Lord"
        #expect(entries(MemoryRules(layout: .sentence), sentence) == ["\(all) -> \(all)"])
        #expect(entries(MemoryRules(layout: .sentence), triple) == ["Kismet in German -> Kismet in German"])
        #expect(
            entries(MemoryRules(layout: .window, window: 3), sentence) == [
                "Kismet is -> Kismet", "in German the -> German", "of The Lord -> The Lord",
            ])
        #expect(entries(MemoryRules(layout: .window, window: 4), sentence)[1] == "is in German the -> German")
        #expect(
            entries(MemoryRules(layout: .window, window: 3, encodesCentre: true), sentence) == [
                "*Kismet is -> *Kismet", "in *German the -> *German", "of *The Lord -> *The Lord",
            ])
        #expect(
            entries(MemoryRules(layout: .windowAndTitle, window: 3), KnowledgeFact("What", nil, "Kismet is in")) == [
                "Kismet is window -> Kismet", "Kismet is title -> What",
            ])
    }

    @Test("weights: rare symbols weigh more, bags have length 1, an empty bag has none")
    func weights() throws {
        let facts = [
            KnowledgeFact("Kismet", "in language", "German"), KnowledgeFact("What", "in language", "German"),
            KnowledgeFact("The Lord", "directed by", "kismet"),
        ]
        let rules = MemoryRules()
        let frequencies = frequencies(facts, vocabulary, rules)
        let (kismet, language, german) = (
            try #require(vocabulary.entity("Kismet")), try #require(vocabulary.relation("in language")), try #require(vocabulary.entity("German"))
        )
        let bag = rules.weighted([kismet, language, kismet, german], frequencies)
        #expect(bag.map(\.symbol) == [kismet, language, german])
        #expect(abs(bag.reduce(0) { $0 + $1.weight * $1.weight } - 1) < 1e-6)
        // log(7 / 2) twice, log(7 / 3): 6 keys, of which 1, 2 and 2 hold the symbols.
        #expect(abs(bag[0].weight / bag[1].weight - Float(2 * log(3.5) / log(7.0 / 3))) < 1e-5)
        #expect(rules.weighted([], frequencies).isEmpty)
        #expect(MemoryRules(weighting: .count).weighted([kismet, language, kismet], frequencies).map(\.weight) == [2, 1])
    }

    @Test("key hashing finds what a search through all keys finds")
    func hashing() throws {
        let made = SyntheticKnowledge(films: 60, heldOut: 0.2, seed: 3)
        let entities = Set(made.facts.flatMap { [$0.subject, $0.object] }).sorted()
        let vocabulary = SymbolVocabulary(
            words: made.training.flatMap { KnowledgeExamples.words(of: $0.text) }, relations: KnowledgeExamples.relations(of: made.facts),
            entities: entities, spareCount: 0,
            foldsCase: false)
        for layout in KnowledgeLayout.allCases {
            let rules = MemoryRules(layout: layout)
            let facts = layout == .triple ? made.facts : made.sentences(seed: 3)
            let memory = KnowledgeMemory(facts, vocabulary, rules, frequencies(facts, vocabulary, rules))
            #expect(memory.leftOut == 0)
            let keys = (0..<memory.count).map { Set(memory.keys.symbols[memory.keys.range($0)]) }
            for limit in [5, 20, 1000] {
                for question in made.test.prefix(30) {
                    let symbols = vocabulary.symbols(of: question.text).symbols
                    let useful = symbols.filter { symbol in keys.count { $0.contains(symbol) } < limit }
                    let expected = keys.indices.filter { !keys[$0].isDisjoint(with: useful) }.map(Int32.init)
                    let found = memory.hashed(symbols, frequencyLimit: limit, limit: 100_000)
                    #expect(found.entries == expected && found.leftOut == 0)
                    let few = memory.hashed(symbols, frequencyLimit: limit, limit: 3)
                    #expect(
                        few.entries.count == min(3, expected.count) && few.leftOut == max(0, expected.count - 3)
                            && Set(few.entries).isSubset(of: expected))
                }
            }
        }
    }

    // MARK: Generated films and the loader

    @Test("generated films depend on the seed alone; held-out pairs are facts that no training question asks for")
    func generated() {
        let made = SyntheticKnowledge(films: 450, heldOut: 0.2, seed: 9)
        let again = SyntheticKnowledge(films: 450, heldOut: 0.2, seed: 9)
        #expect(
            made.facts == again.facts && made.training == again.training && made.test == again.test
                && made.sentences(seed: 9) == again.sentences(seed: 9))
        #expect(SyntheticKnowledge(films: 450, heldOut: 0.2, seed: 10).facts != made.facts)
        #expect(made.facts.count == 2250 && Set(made.facts.map(\.subject)).count == 450)
        #expect(made.validation.count == 225 && made.test.count == 225 && made.training.count == 4 * 1800)
        func pair(_ question: KnowledgeQuestion) -> String {
            "\(question.text.split(separator: "[")[question.text.hasPrefix("[") ? 0 : 1].split(separator: "]")[0])|\(question.kind ?? "")"
        }
        let (asked, heldOut) = (Set(made.training.map(pair)), Set((made.validation + made.test).map(pair)))
        #expect(asked.isDisjoint(with: heldOut) && asked.count == 1800 && heldOut.count == 450)
        let facts = Set(made.facts.map { "\($0.subject)|\($0.relation ?? "")|\($0.object)" })
        for question in made.training + made.test { #expect(facts.contains("\(pair(question))|\(question.answers[0])")) }
    }

    @Test("generated films as files: what is read back are the same facts and questions, and the text has a line a film")
    func generatedFiles() throws {
        let made = SyntheticKnowledge(films: 40, heldOut: 0.2, seed: 7)
        let directory = try TemporaryDirectory()
        let output = directory.path + "/films"
        let summary = try made.write(seed: 7, to: output)
        #expect(summary.files.map(\.lines) == [200, made.training.count, 20, 20, 40])
        for file in summary.files { #expect(try Data(contentsOf: URL(filePath: "\(output)/\(file.name)")).count == file.bytes) }
        #expect(try KnowledgeBaseReader.barredLines(path: "\(output)/facts.txt").facts == made.facts)
        for (name, questions) in [("train", made.training), ("valid", made.validation), ("test", made.test)] {
            let read = try KnowledgeQuestionReader.read(path: "\(output)/questions-\(name).txt").questions
            #expect(read.map(\.text) == questions.map(\.text) && read.map(\.answers) == questions.map(\.answers))
        }
        let documents = try String(contentsOfFile: "\(output)/documents.txt", encoding: .utf8).split(separator: "\n")
        #expect(documents.count == 40 && !documents.contains { $0.contains("[") || $0.contains("|") })
        for fact in made.facts { #expect(documents.contains { $0.contains(fact.subject) && $0.contains(fact.object) }, "\(fact)") }

        let refused = #expect(throws: UserError.self) { try made.write(seed: 7, to: output) }
        #expect(refused?.exitCode == .usage)
        try "mine".write(toFile: "\(output)/notes.txt", atomically: true, encoding: .utf8)
        #expect(try SyntheticKnowledge(films: 10, seed: 8).write(seed: 8, to: output, replacing: true).files.first?.lines == 50)
        #expect(try String(contentsOfFile: "\(output)/notes.txt", encoding: .utf8) == "mine")
    }

    private func examples(_ candidates: CandidateRule) -> (source: KnowledgeExamples, made: SyntheticKnowledge) {
        let made = SyntheticKnowledge(films: 30, heldOut: 0.2, seed: 3)
        let vocabulary = SymbolVocabulary(
            words: made.training.flatMap { KnowledgeExamples.words(of: $0.text) }, relations: KnowledgeExamples.relations(of: made.facts),
            entities: Set(made.facts.flatMap { [$0.subject, $0.object] }).sorted(), spareCount: 4, foldsCase: false)
        let frequencies = frequencies(made.facts, vocabulary, MemoryRules())
        let memory = KnowledgeMemory(made.facts, vocabulary, MemoryRules(), frequencies)
        let source = KnowledgeExamples(
            vocabulary: vocabulary, memory: memory, frequencies: frequencies, frequencyLimit: 1000, memoryLimit: 1000, candidates: candidates)
        return (source, made)
    }

    @Test(
        "candidates: right answers have their places, entities of the question are none, sampled ones differ",
        arguments: [CandidateRule.entities, .memory, .sampled(7)])
    func candidates(_ rule: CandidateRule) throws {
        let (source, made) = examples(rule)
        let prepared = made.training.prefix(40).map(source.example)
        let loader = try KnowledgeLoader(Array(prepared), source, lanes: 40, seed: 2)
        for rows in [loader.batch(lanes: Array(0..<40)), source.rows(Array(prepared), lanes: Array(0..<40))] {
            for question in 0..<40 {
                let count: Int
                var excluded: Set<Int32> = []
                switch rows.candidates {
                case .range(_, let all, let starts, let places):
                    count = all
                    excluded = Set(places[Int(starts[question])..<Int(starts[question + 1])])
                case .lists(let starts, _): count = Int(starts[question + 1] - starts[question])
                }
                let offered = (0..<count).filter { !excluded.contains(Int32($0)) }.map { source.candidate($0, of: question, rows) }
                let asked = Set(rows.questions.symbols[rows.questions.range(question)])
                #expect(Set(offered).isDisjoint(with: asked) && Set(offered).count == offered.count && offered.allSatisfy(source.vocabulary.isEntity))
                let right = rows.answerPlaces[Int(rows.answerStarts[question])..<Int(rows.answerStarts[question + 1])].map {
                    source.candidate(Int($0), of: question, rows)
                }
                #expect(right.count == 1 && Set(right).isSubset(of: offered))
            }
        }
    }

    @Test("an epoch gives every question once; lanes may be asked for in parts; a position is where it says")
    func loader() throws {
        let (source, made) = examples(.sampled(5))
        let prepared = made.training.map(source.example)
        func new() throws -> KnowledgeLoader { try KnowledgeLoader(prepared, source, lanes: 32, seed: 8) }
        let loader = try new()
        var seen: [Int] = []
        var positions: [LoaderPosition] = []
        for _ in 0..<(prepared.count / 32) {
            positions.append(loader.position)
            seen += (0..<32).map(loader.question)
            let whole = loader.batch(lanes: Array(0..<32))
            let parts = [loader.batch(lanes: Array(0..<5)), loader.batch(lanes: Array(5..<32))]
            #expect(parts.flatMap(\.entries) == whole.entries)
            #expect(parts.flatMap { $0.keys.weights } == whole.keys.weights && parts.flatMap { $0.questions.symbols } == whole.questions.symbols)
            if case .lists(_, let symbols) = whole.candidates {
                let inParts = parts.flatMap { part -> [Int32] in if case .lists(_, let symbols) = part.candidates { symbols } else { [] } }
                #expect(inParts == symbols)
            }
            loader.advance()
        }
        #expect(prepared.count % 32 == 0 && seen.sorted() == Array(prepared.indices))
        let other = try new()
        try other.seek(to: positions[2])
        #expect((0..<32).map(other.question) == Array(seen[64..<96]))
        #expect(throws: UserError.self) { try other.seek(to: LoaderPosition(global: [0, Int64(prepared.count)])) }
        #expect(throws: UserError.self) { try other.seek(to: LoaderPosition(global: [1])) }
        #expect(throws: UserError.self) { try KnowledgeLoader([], source, lanes: 4, seed: 1) }
    }

    @Test("hash recall is told from wrong answers: a question whose fact is missing is not reachable")
    func reachability() {
        let (source, made) = examples(.memory)
        #expect(made.test.allSatisfy { source.example($0).isReachable })
        var without = source
        without.memory = KnowledgeMemory(made.facts.filter { $0.relation != "has genre" }, source.vocabulary, MemoryRules(), source.frequencies)
        #expect(made.test.allSatisfy { without.example($0).isReachable == ($0.kind != "has genre") })
        let empty = source.example(KnowledgeQuestion(text: "who painted nobody", answers: ["x"]))
        #expect(empty.entries.isEmpty && !empty.isReachable && empty.answers.isEmpty && !empty.unknown.isEmpty)
    }

    @Test(
        "MetaQA as it is published", .enabled(if: ProcessInfo.processInfo.environment["MNEME_DATA"] != nil, "set MNEME_DATA to the folder of corpora")
    )
    func metaQA() throws {
        let data = try #require(ProcessInfo.processInfo.environment["MNEME_DATA"])
        let base = try KnowledgeBaseReader.numberedTriples(directory: "\(data)/metaqa", skipLimit: 10)
        #expect(KnowledgeExamples.relations(of: base.facts).count == 9 && base.facts.count > 127_000)
        let read = try KnowledgeQuestionReader.read(
            path: "\(data)/metaqa/1-hop/dev.txt", kinds: "\(data)/metaqa/1-hop/qa_dev_qtype.txt", skipLimit: 0)
        #expect(read.questions.count == 9992 && read.questions[0].kind == "actor_to_movie")
        #expect(read.questions[0].answers == ["Once Were Warriors", "Tracker", "River Queen"])
        #expect(Set(read.questions.compactMap(\.kind)).count == 13)
    }
}
