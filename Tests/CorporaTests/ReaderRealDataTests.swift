import Corpora
import Diagnostics
import TestSupport
import Testing

/// Counts of the corpora under `MNEME_DATA`, as its README states them.
@Suite(.enabled(if: RealData.isPresent, "MNEME_DATA does not name a directory of real data"))
struct ReaderRealDataTests {
    @Test func translationPairs() throws {
        for (part, count) in [("train", 10_000), ("val", 3_000)] {
            let got = try Reading(.wmt, [RealData.path("wmt-ende-opennmt/src-\(part).txt"), RealData.path("wmt-ende-opennmt/tgt-\(part).txt")])
            #expect(got.records.count == count)
            #expect(got.errors.isEmpty)
        }
        let romanian = try Reading(.wmt, [RealData.path("wmt16-enro/newsdev2016")]) { $0.languages = LanguagePair(source: "en", target: "ro") }
        #expect(romanian.records.count == 1_999)
        let multi30k = try Reading(.wmt, [RealData.path("multi30k/task1/raw/train")]) { $0.languages = LanguagePair(source: "en", target: "de") }
        #expect(multi30k.records.count == 29_000)
        #expect(multi30k.errors.isEmpty)
        let news = try Reading(.wmt, [RealData.path("news-commentary-fren/nc-5k")]) { $0.languages = LanguagePair(source: "fr", target: "en") }
        #expect(news.records.count == 5_000)
    }

    @Test func testSets() throws {
        let text = try Reading(
            .wmt, [RealData.path("wmt21/txt/sources/newstest2021.en-de.src.en"), RealData.path("wmt21/txt/references/newstest2021.en-de.ref.A.de")])
        #expect(text.records.count == 1_002)
        let markup = try Reading(.wmt, [RealData.path("wmt-sgm-sample/test-src.fr.sgm"), RealData.path("wmt-sgm-sample/test-ref.en.sgm")])
        #expect(markup.records.count == 85)
        #expect(markup.errors.isEmpty)
        #expect(markup.sources.first == "Illhaeusern... enfin")
        #expect(markup.targets.first == "Illhaeusern... finally")
        let xml = try Reading(.wmt, [RealData.path("wmt21/xml/newstest2021.de-fr.all.xml")])
        #expect(xml.records.count == 1_000)
        #expect(xml.errors.isEmpty)
        #expect(xml.targets.first == "Banque Mattersburg\u{a0}: l’ÖVP et le FPÖ ouvrent le feu sur le SPÖ")
    }

    @Test func unequalRealFilesAreRefused() throws {
        let error = userError {
            _ = try Reading(.wmt, [RealData.path("wmt-ende-opennmt/src-train.txt"), RealData.path("wmt-ende-opennmt/tgt-val.txt")])
        }
        #expect(error?.exitCode == .badData)
        #expect(error?.description.contains("10000 lines") == true && error?.description.contains("3000") == true)
    }

    @Test func articles() throws {
        let stories = try Reading(.cnnDailyMail, [RealData.path("cnn_dailymail/stories")])
        #expect(stories.records.count == 16)
        #expect(stories.sources.allSatisfy { !$0.isEmpty && !$0.contains("@highlight") })
        #expect(stories.targets.allSatisfy { !$0.isEmpty })
        let table = try Reading(.cnnDailyMail, [RealData.path("cnn_dailymail/cnn_dailymail_validation_subset.part1.csv")])
        #expect(table.records.count == 750)
        #expect(table.errors.isEmpty)
        #expect(table.targets.allSatisfy { !$0.isEmpty })
        let selected = try Reading(.cnnDailyMail, [RealData.path("cnn_dailymail/cnn_dailymail_validation_subset.part1.csv")]) {
            $0.urlList = RealData.path("cnn_dailymail/url_lists/cnn_wayback_validation_urls.txt")
        }
        #expect(!selected.records.isEmpty && selected.records.count <= 750)
    }

    @Test func questions() throws {
        for split in ["train", "test"] {
            let reader = try CorpusFormat.babi.makeReader(inputs: [RealData.path("babi/tasks_1-20_v1-2/en")], options: ReaderOptions(split: split))
            #expect(reader.labels == BabiTask.allCases.map(\.label))
            let got = try Reading(reader)
            #expect(got.errors.isEmpty)
            for label in 0..<20 { #expect(got.records.count { $0.label == Int32(label) } == 1_000) }
        }
    }

    /// The archives hold the same format under other names, and ten times the questions.
    @Test func archivedQuestions() throws {
        let directory = try TemporaryDirectory()
        // The validation split cuts between stories, so its parts are only about 900 and 100 questions a task.
        for (name, split, tasks, questions) in [
            ("en-valid", "train", 20, 18_013), ("en-valid", "valid", 20, 1_987), ("en-10k", "train", 19, 190_000),
        ] {
            #expect(try runProgram("/bin/tar", ["-xzf", RealData.path("babi/tasks_1-20_v1-2_\(name).tar.gz"), "-C", directory.path]).status == 0)
            let reader = try CorpusFormat.babi.makeReader(inputs: ["\(directory.path)/tasks_1-20_v1-2/\(name)"], options: ReaderOptions(split: split))
            #expect(reader.labels.count == tasks)
            let got = try Reading(reader)
            #expect(got.errors.isEmpty)
            #expect(got.records.count == questions)
        }
    }

    @Test func plainText() throws {
        let path = RealData.path("lm/tinyshakespeare/input.txt")
        #expect(try Reading(.text, [path]).records.reduce(0) { $0 + $1.source.count } == 1_115_394)
        #expect(try Reading(.text, [path]) { $0.documents = .line }.records.count == 40_000)
    }
}

extension ReaderOptions {
    fileprivate init(split: String) {
        self.init()
        self.split = split
    }
}
