// Every reader over inputs that nobody would write: no trap, no endless reading, and no record lost without an error.

import Corpora
import Diagnostics
import Foundation
import TestSupport
import Testing

/// Seeded changes of a text: bytes, pieces that mean something to readers, lines, halves.
private struct Mutator {
    var choices: SeededChoices

    /// What some reader looks for.
    private static let pieces: [[UInt8]] =
        [
            "<", ">", "</", "<seg id=\"1\">", "</seg>", "<doc", "</doc>", "<p>", "\"", "'", "=", "&amp;", "&#", "&#x110000;", "<![CDATA[", "]]>", "<!--", "<unk>", "<tu>",
            "</tuv>", "xml:lang=\"de\"", ",", "\"\"", "\t", "\r", "\n", "\r\n", "\r\r\n", "\u{a0}", "\u{2028}", "\u{feff}", "\u{301}", "@highlight", "1 ", "1\t", "?", "|", "[",
            "]", "{", "}", ":", "\\u", "\\ud800", "NaN", "-0", "\0", "R_phone", "# text =", "1-2", "SpaceAfter=No", "0", "99999999999999999999",
        ].map { Array($0.utf8) } + [[0xff], [0xc2], [0xe2, 0x80], [0xed, 0xa0, 0x80]]

    mutating func mutated(_ text: [UInt8]) -> [UInt8] {
        var text = text
        for _ in 0...choices.below(4) {
            let place = choices.below(text.count + 1)
            switch choices.below(8) {
            case 0: text.insert(UInt8(choices.below(256)), at: place)
            case 1: if place < text.count { text[place] = UInt8(choices.below(256)) }
            case 2, 3: text.insert(contentsOf: choices.pick(Self.pieces), at: place)
            case 4: text.removeSubrange(place..<min(text.count, place + choices.below(12)))
            case 5: text.insert(contentsOf: text[place..<min(text.count, place + choices.below(40))], at: choices.below(text.count + 1))
            case 6:
                var lines = text.split(separator: 0x0a, omittingEmptySubsequences: false).map { Array($0) }
                let (a, b) = (choices.below(lines.count), choices.below(lines.count))
                switch choices.below(3) {
                case 0: lines.swapAt(a, b)
                case 1: lines.insert(lines[a], at: b)
                default: lines.remove(at: a)
                }
                text = Array(lines.joined(separator: [0x0a]))
            default: if choices.chance(1, in: 4) { text.removeLast(text.count - place) }
            }
        }
        return text
    }
}

/// MNEME_CAMPAIGN=1 changes each form a hundred thousand times, a larger number as often as it says.
@Suite struct ReaderFuzzTests {
    private static let rounds = ProcessInfo.processInfo.environment["MNEME_CAMPAIGN"].map { Int($0).flatMap { $0 > 1 ? $0 : nil } ?? 100_000 } ?? 300

    /// A form: the names and texts of its files, and what the lines of the first one are, where each is a record or an error.
    struct Form: Sendable, CustomTestStringConvertible {
        var name: String
        var format: CorpusFormat
        var files: [(name: String, text: String)]
        var languages: String?
        var documents = DocumentPolicy.file
        /// Whether every line (or, `true`, every line that is not blank) of the first file is a record or an error.
        var countsLines: (skipsBlank: Bool, firstIsHeader: Bool)?
        var testDescription: String { name }
    }

    static let forms: [Form] = [
        Form(
            name: "sgm", format: .wmt,
            files: [
                ("s.sgm", "<srcset setid=\"t\" srclang=\"any\">\n<doc docid=\"d1\">\n<p>\n<seg id=\"1\">a &lt;b&gt;</seg>\n<seg id=\"2\">c <d</seg>\n</p>\n</doc>\n</srcset>\n"),
                ("r.sgm", "<refset trglang=\"de\">\n<doc docid=\"d1\" sysid=\"r\">\n<seg id=\"1\">A</seg>\n<seg id=\"2\">C</seg>\n</doc>\n</refset>\n"),
            ]),
        Form(
            name: "xml", format: .wmt,
            files: [
                (
                    "t.xml",
                    "<?xml version='1.0'?>\n<dataset><doc id=\"1\"><src lang=\"en\"><p><seg id=\"1\">a &amp; <![CDATA[<b>]]></seg></p></src>\n"
                        + "<ref lang=\"de\" translator=\"A\"><seg id=\"1\">A<!-- n --></seg></ref></doc></dataset>\n"
                )
            ]),
        Form(
            name: "tmx", format: .wmt,
            files: [
                (
                    "t.tmx",
                    "<tmx version=\"1.4\"><header srclang=\"en\"/><body>\n<tu><tuv xml:lang=\"de\"><seg>eins <bpt i=\"1\">{</bpt>b<ept i=\"1\"/></seg></tuv>"
                        + "<tuv xml:lang=\"en-GB\"><seg>one <b>x</b></seg></tuv></tu>\n</body></tmx>\n"
                )
            ], languages: "en-de"),
        Form(name: "tsv", format: .wmt, files: [("t.tsv", "a\tb\nc d\te\tf\n\nx\ty\n")], countsLines: (false, false)),
        Form(name: "lines", format: .wmt, files: [("t.en", "a\nb c\n\nd\n"), ("t.de", "A\nB C\n\nD\n")]),
        Form(name: "csv", format: .cnnDailyMail, files: [("t.csv", "id,article,highlights\n1,\"a \"\"b\"\", c\",h\n2,\"x\r\ny\",z\n")]),
        Form(
            name: "jsonl", format: .cnnDailyMail,
            files: [("t.jsonl", "{\"article\":\"a\\n\\u00e9\",\"highlights\":\"h\",\"n\":[1,-2.5e3,null]}\n\n{\"highlights\":\"x\",\"article\":\"y\\r\\nz\"}\n")],
            countsLines: (true, false)),
        Form(name: "story", format: .cnnDailyMail, files: [("t.story", "First.\n\nSecond.\n\n@highlight\n\nOne\n\n@highlight\n\nTwo\n")]),
        Form(name: "babi", format: .babi, files: [("qa1_x_train.txt", "1 Mary went home.\n2 Where is Mary?\thome\t1\n1 John left.\n2 A b.\n3 Who left?\tJohn\t1\n")]),
        Form(
            name: "conllu", format: .conllu,
            files: [("t.conllu", "# newdoc\n# text = It is.\n1\tIt\t_\t_\t_\t_\t_\t_\t_\t_\n2-3\tis.\t_\t_\t_\t_\t_\t_\t_\t_\n2\tis\t_\t_\t_\t_\t_\t_\t_\t_\n3\t.\t_\t_\t_\t_\t_\t_\t_\t_\n\n")]),
        Form(name: "text", format: .text, files: [("t.txt", "One line.\nAnother\u{a0}one.\r\n\n\u{3000}\nLast")]),
        Form(name: "text by lines", format: .text, files: [("t.txt", "One line.\nAnother one.\n\nLast")], documents: .line, countsLines: (false, false)),
        Form(name: "text by paragraphs", format: .text, files: [("t.txt", "One line.\nAnother one.\n\nLast\n\n\n")], documents: .paragraph),
    ]

    @Test(arguments: forms)
    func whateverStandsInAFile(_ form: Form) throws {
        let directory = try TemporaryDirectory()
        var mutator = Mutator(choices: SeededChoices(seed: 12, path: [UInt64(form.name.utf8.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff })]))
        for round in 0..<Self.rounds {
            var texts = form.files.map { Array($0.text.utf8) }
            let changed = mutator.choices.below(texts.count)
            texts[changed] = mutator.mutated(texts[changed])
            let paths = zip(form.files, texts).map { overwrite("\(directory.path)/\($0.name)", by: $1) }
            let length = texts.reduce(0) { $0 + $1.count }
            let found = try read(form, paths, atMost: length + 16)
            func about() -> String { "round \(round): \(String(decoding: texts[changed], as: UTF8.self).debugDescription)" }
            for record in found.records
            where String(validating: record.source, as: UTF8.self) == nil || String(validating: record.target ?? [], as: UTF8.self) == nil {
                Issue.record("not UTF-8, \(about())")
            }
            guard found.error == nil, let counted = form.countsLines else { continue }
            // A line ends at a line feed, or in a file without one at a carriage return; a mark at the beginning is none of its text.
            var text = texts[0][...]
            if text.starts(with: [0xef, 0xbb, 0xbf]) { text = text.dropFirst(3) }
            guard !text.contains(0x0d), !text.contains(0) else { continue }
            var lines = text.split(separator: 0x0a, omittingEmptySubsequences: false)
            if lines.last?.isEmpty == true { lines.removeLast() }
            if counted.skipsBlank { lines.removeAll { Array($0).withUnsafeBufferPointer(WhiteSpace.unicode.isBlank) } }
            if found.records.count + found.errors != lines.count { Issue.record("\(found.records.count) records of \(lines.count) lines, \(about())") }
        }
    }

    /// A file of these bytes.
    private func overwrite(_ path: String, by bytes: [UInt8]) -> String {
        guard let file = fopen(path, "w") else { return path }
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
        return path
    }

    /// Reads all that a form's files hold.
    private func read(_ form: Form, _ paths: [String], atMost limit: Int) throws -> (records: [CorpusRecord], errors: Int, error: UserError?) {
        var options = ReaderOptions()
        options.documents = form.documents
        options.languages = try form.languages.map { try LanguagePair($0) }
        var records: [CorpusRecord] = []
        var errors = 0
        do {
            let reader = try form.format.makeReader(inputs: paths, options: options)
            while true {
                if records.count + errors > limit {
                    Issue.record("\(form.name) does not come to an end")
                    break
                }
                do {
                    guard let record = try reader.next() else { break }
                    records.append(record)
                } catch is RecordError {
                    errors += 1
                }
            }
        } catch let error as UserError {
            return (records, errors, error)
        }
        return (records, errors, nil)
    }

    /// Whatever a segment holds but a tag of its own comes out as it stands.
    @Test func segmentsOfAnything() throws {
        let directory = try TemporaryDirectory()
        var choices = SeededChoices(seed: 5)
        let pieces = ["<", ">", "/", "\"", "'", "=", "&", ";", "a", "b", " ", "<b", "</", "<unk>", "</b>", "!", "?", "<!", "<?", "é", "p", "<p", "seg", "doc", "[CDATA[", "--"]
        for _ in 0..<max(Self.rounds / 100, 20) {
            let texts = (0..<20).map { _ -> String in
                let text = (0..<choices.below(14)).map { _ in choices.pick(pieces) }.joined()
                return text.contains("<seg") || text.contains("</seg") || text.contains("<doc") || text.contains("</doc") ? "x" : "[" + text + "]"
            }
            func set(_ segments: [String]) -> String {
                "<srcset>\n<doc docid=\"d\">\n" + segments.enumerated().map { "<seg id=\"\($0)\">\($1)</seg>\n" }.joined() + "</doc>\n</srcset>\n"
            }
            let got = try Reading(.wmt, [directory.write(set(texts), to: "s.sgm"), directory.write(set(texts.map { _ in "R" }), to: "r.sgm")])
            #expect(got.sources == texts && got.errors.isEmpty)
            // In XML, what looks like an element that is closed is one; but no segment is lost, and none melts into another.
            func side(_ name: String, _ segments: [String]) -> String {
                "<\(name)>" + segments.enumerated().map { "<seg id=\"\($0)\">\($1)</seg>\n" }.joined() + "</\(name)>"
            }
            let plain = texts.map { $0.replacing("<![CDATA[", with: "[").replacing("<!--", with: "<! --") }
            let xml = try Reading(.wmt, [directory.write("<dataset><doc id=\"d\">\(side("src", plain))\(side("ref", plain.map { _ in "R" }))</doc></dataset>", to: "t.xml")])
            #expect(xml.records.count == texts.count && xml.errors.isEmpty && xml.sources.allSatisfy { $0 == "x" || $0.hasPrefix("[") && $0.hasSuffix("]") })
        }
    }

    @Test func whateverStandsInStoriesAndKnowledge() throws {
        let directory = try TemporaryDirectory()
        var mutator = Mutator(choices: SeededChoices(seed: 77))
        let dialog = "1 Hi\thello there\n2 resto_x R_phone 1\n3 <SILENCE>\tapi_call x\n\n1 yo\thello there\n"
        let facts = "1 Kismet directed_by William Dieterle\n2 Good Morning, Vietnam has_tags a, b\n\n1 Kismet has_plot A poet, and more.\n"
        let triples = "Kismet|directed by|William Dieterle\nA|r|B\n"
        let questions = "who directed [Kismet]\tWilliam Dieterle|X\n1 what is it?\tA, Good Morning, Vietnam\n"
        for round in 0..<Self.rounds {
            let form = round % 5
            let text = mutator.mutated(Array([dialog, facts, triples, questions, "1 Mary left.\n2 Who left?\tMary\t1\n"][form].utf8))
            func about() -> String { "form \(form), round \(round): \(String(decoding: text, as: UTF8.self).debugDescription)" }
            do {
                switch form {
                case 0:
                    var vocabulary = StoryVocabulary()
                    vocabulary.setAnswers(["hello there"])
                    let path = try directory.write(text, to: "d.txt")
                    let read = try StoryQuestions(dialogs: [(path, 1)], vocabulary: &vocabulary, isTraining: true)
                    #expect(read.questions.allSatisfy { $0.sentences.upperBound < read.sentenceStarts.count }, "\(about())")
                    _ = try StoryQuestions(typedDialog: String(decoding: text, as: UTF8.self), vocabulary: vocabulary)
                case 1:
                    let read = try KnowledgeBaseReader.numberedLines(path: directory.write(text, to: "kb.txt"), skipLimit: 1000)
                    #expect(read.facts.allSatisfy { !$0.subject.isEmpty && !$0.object.isEmpty }, "\(about())")
                case 2:
                    let read = try KnowledgeBaseReader.barredLines(path: directory.write(text, to: "t.txt"), skipLimit: 1000)
                    #expect(read.facts.allSatisfy { !$0.subject.isEmpty && !$0.object.isEmpty && $0.relation?.isEmpty == false }, "\(about())")
                case 3:
                    let read = try KnowledgeQuestionReader.read(path: directory.write(text, to: "q.txt"), names: ["Good Morning, Vietnam"], skipLimit: 1000)
                    #expect(read.questions.allSatisfy { !$0.text.isEmpty && !$0.answers.isEmpty && !$0.answers.contains("") }, "\(about())")
                default:
                    var vocabulary = StoryVocabulary()
                    _ = try StoryQuestions(babi: [(directory.write(text, to: "b.txt"), 1)], vocabulary: &vocabulary, isTraining: true)
                    let story = TypedStory(String(decoding: text, as: UTF8.self))
                    #expect(story.question != nil || story.facts.isEmpty, "\(about())")
                    _ = try StoryQuestions(typed: story.text, vocabulary: vocabulary)
                }
            } catch is UserError {}
        }
    }
}
