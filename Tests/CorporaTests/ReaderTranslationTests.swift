import Corpora
import Diagnostics
import TestSupport
import Testing

@Suite struct ReaderTranslationTests {
    @Test func lineAlignedFiles() throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write("a\u{2028}a\r\n\nb", to: "x.en")
        let target = try directory.writeCompressed(Array("A\nleer\nB\n".utf8), to: "x.de.gz")
        let got = try Reading(.wmt, [source, target])
        #expect(got.sources == ["a\u{2028}a", "", "b"])
        #expect(got.targets == ["A", "leer", "B"])
        #expect(got.records.map(\.place.line) == [1, 2, 3])
        let prefixed = try Reading(.wmt, [directory.path + "/x"]) { $0.languages = try? LanguagePair("en-de") }
        #expect(prefixed.targets == got.targets)
        let several = try Reading(.wmt, [source, target, source, target])
        #expect(several.records.count == 6)
    }

    @Test func unequalLengthsNameBothFilesAndCounts() throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write("1\n2\n3\n4\n5", to: "x.en")
        let target = try directory.write("1\n2\n3\n", to: "x.de")
        for (first, second, counts) in [(source, target, ["5", "3"]), (target, source, ["3", "5"])] {
            let error = userError { _ = try Reading(.wmt, [first, second]) }
            #expect(error?.exitCode == .badData)
            for part in counts.map({ "\($0)" }) + [first, second] { #expect(error?.description.contains(part) == true) }
        }
    }

    @Test func aBadLineCostsOnePair() throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write("a\nb\nc\n", to: "x.en")
        let target = try directory.write([0x41, 0x0a, 0xc3, 0x0a, 0x43, 0x0a], to: "x.de")
        let got = try Reading(.wmt, [source, target])
        #expect(got.sources == ["a", "c"])
        #expect(got.targets == ["A", "C"])
        #expect(got.errors.map(\.place) == [RecordPlace(file: target, line: 2, byte: 2)])
    }

    @Test func aFileWithoutPartnerIsAUsageError() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("a", to: "x.en")
        #expect(userError { _ = try Reading(.wmt, [path]) }?.exitCode == .usage)
        #expect(userError { _ = try Reading(.wmt, [path, directory.path]) }?.exitCode == .missingInput)
        #expect(userError { _ = try LanguagePair("ende") }?.exitCode == .usage)
        let half = userError { _ = try Reading(.wmt, [directory.path + "/x"]) { $0.languages = LanguagePair(source: "en", target: "fr") } }
        #expect(half?.exitCode == .missingInput)
        #expect(half?.description.contains("x.fr") == true)
    }

    @Test func tabSeparated() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("a\tA\nb b\tB\"B\tmore\tcolumns\nnone\n\t\nc\t", to: "x.tsv")
        let got = try Reading(.wmt, [path])
        #expect(got.sources == ["a", "b b", "", "c"])
        #expect(got.targets == ["A", "B\"B", "", ""])
        #expect(got.errors.map(\.place.line) == [3])
    }

    private let sourceSet = """
        <srcset setid="s" srclang=any>
        <DOC docid="d1" genre='news'>
        <hl><seg id="1"> AT&amp;T &lt;b&gt; &#233;&#x20AC; &copy; </seg></hl>
        <p><seg id=2> 1 < 2 & 3
        lines </seg>
        <seg id="3">three</seg></p>
        </DOC>
        <!-- a comment with <seg id="9"> in it -->
        <doc docid="d2"><seg id="1">last</seg></doc>
        </srcset>
        """

    @Test func markupOfTestSets() throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write(sourceSet, to: "src.sgm")
        let target = try directory.write(
            """
            <refset setid="s" srclang="any" trglang="en">
            <doc sysid="r1" docid="d1"><seg id="3">drei</seg><seg id="1">eins</seg><seg id="2">zwei</seg></doc>
            <doc sysid="r2" docid="d1"><seg id="1">one</seg><seg id="2">two</seg><seg id="3">three</seg></doc>
            <doc sysid="r1" docid="d2"><seg id="1">letztes</seg></doc>
            <doc sysid="r2" docid="d2"><seg id="1">last</seg></doc>
            </refset>
            """, to: "ref.sgm")
        let got = try Reading(.wmt, [source, target])
        #expect(got.sources == ["AT&T <b> é€ &copy;", "1 < 2 & 3 lines", "three", "last"])
        #expect(got.targets == ["eins", "zwei", "drei", "letztes"])
        #expect(got.records.map(\.place.line) == [3, 4, 6, 9])
        let other = try Reading(.wmt, [source, target]) { $0.translator = "r2" }
        #expect(other.targets == ["one", "two", "three", "last"])
    }

    @Test func segmentsThatOneSideLacksAreNamed() throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write(sourceSet, to: "src.sgm")
        let target = try directory.write(
            "<refset><doc docid=\"d1\"><seg id=\"1\">a</seg><seg id=\"3\">c</seg><seg id=\"4\">d</seg></doc>"
                + "<doc docid=\"d2\"><seg id=\"1\">e</seg></doc>",
            to: "ref.sgm")
        let got = try Reading(.wmt, [source, target])
        #expect(got.targets == ["a", "c", "e"])
        #expect(got.errors.map { $0.what.contains("d1") } == [true, true])
        #expect(got.errors.map { $0.what.prefix(9) } == ["segment 2", "segment 4"])
        let short = try directory.write("<refset><doc docid=\"d1\"><seg id=\"1\">a</seg></doc></refset>", to: "short.sgm")
        let error = userError { _ = try Reading(.wmt, [source, short]) }
        #expect(error?.exitCode == .badData)
        #expect(error?.description.contains("d2") == true)
        let cut = try directory.write("<refset><doc docid=\"d1\"><seg id=\"1\">a</seg>", to: "cut.sgm")
        #expect(userError { _ = try Reading(.wmt, [source, cut]) }?.exitCode == .badData)
        let broken = try directory.write("<refset><doc docid=\"d1", to: "broken.sgm")
        #expect(userError { _ = try Reading(.wmt, [source, broken]) }?.exitCode == .badData)
        #expect(userError { _ = try Reading(.wmt, [source]) }?.exitCode == .usage)
    }

    private let testSet = """
        <?xml version='1.0' encoding='utf-8'?>
        <dataset id="t">
          <doc origlang="de" id="d1">
            <src lang="de"><p><seg id="1">eins &amp; zwei</seg></p><p><seg id="2">drei</seg></p></src>
            <ref lang="fr" translator="A"><p><seg id="1">un</seg><seg id="2">trois</seg></p></ref>
            <ref lang="fr" translator="B"><p><seg id="1">UN</seg></p></ref>
            <hyp system="S" language="fr"><p><seg id="1">wrong</seg><seg id="2">wrong</seg></p></hyp>
          </doc>
          <doc origlang="de" id="d2">
            <src lang="de"><seg id="1"><![CDATA[vier < fünf]]></seg></src>
            <ref lang="fr" translator="A"><seg id="1">quatre</seg></ref>
          </doc>
        </dataset>
        """

    @Test func xmlTestSets() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.writeCompressed(Array(testSet.utf8), to: "t.xml.gz")
        let first = try Reading(.wmt, [path])
        #expect(first.sources == ["eins & zwei", "drei", "vier < fünf"])
        #expect(first.targets == ["un", "trois", "quatre"])
        let second = try Reading(.wmt, [path]) { $0.translator = "B" }
        #expect(second.targets == ["UN"])
        #expect(second.errors.count == 2)
        #expect(second.errors[0].what.contains("segment 2 of document d1"))
        #expect(second.errors[1].what.contains("document d2 has no reference by translator B"))
        let cut = try directory.write(String(testSet.prefix(300)), to: "cut.xml")
        #expect(userError { _ = try Reading(.wmt, [cut]) }?.exitCode == .badData)
    }

    @Test func badBytesInASegmentCostThatSegment() throws {
        let directory = try TemporaryDirectory()
        let text =
            Array("<doc id=\"d\"><src><seg id=\"1\">a</seg><seg id=\"2\">b".utf8) + [0xfe]
            + Array("</seg></src><ref translator=\"A\"><seg id=\"1\">A</seg><seg id=\"2\">B</seg></ref></doc>".utf8)
        let got = try Reading(.wmt, [try directory.write(text, to: "t.xml")])
        #expect(got.targets == ["A"])
        #expect(got.errors.map { $0.what.hasPrefix("not UTF-8") } == [true])
    }

    private func pairs(_ sources: [String], in directory: TemporaryDirectory) throws -> Reading {
        func set(_ kind: String, _ segments: [String]) -> String {
            let lines = segments.enumerated().map { "<seg id=\"\($0 + 1)\">\($1)</seg>\n" }
            return "<\(kind)set setid=\"t\" srclang=\"any\">\n<doc docid=\"d1\">\n<p>\n\(lines.joined())</p>\n</doc>\n</\(kind)set>\n"
        }
        return try Reading(
            .wmt, [directory.write(set("src", sources), to: "s.sgm"), directory.write(set("ref", sources.map { _ in "R" }), to: "r.sgm")])
    }

    /// The text of a segment is what stands between its tags, as sacreBLEU and mteval take it.
    @Test func whatNobodyEscapedIsText() throws {
        let directory = try TemporaryDirectory()
        let texts = [
            "if a <b then c", "a <unk> b", "mail <joe@example.org> now", "see </ there", "p <0.05 and q < 3", "set <x=\"1 and go", "<", "a <segment> b", "x <!-- y",
            "</p", "<p> is a tag", "1 <seg", "last",
        ]
        let got = try pairs(texts, in: directory)
        #expect(got.sources == texts && got.errors.isEmpty)
    }

    @Test func endTagsThatAreLeftOut() throws {
        let directory = try TemporaryDirectory()
        let target = try directory.write(
            "<refset><doc docid=a><seg id=1>A<seg id=2>B</doc><doc docid=b><seg id=1>C</seg></doc><doc docid=c><seg>D</seg></doc></refset>", to: "r.sgm")
        for text in [
            "<srcset>\n<doc docid=\"a\">\n<p>\n<seg id=\"1\">one <b\n</p><p>\n<seg id = \"2\" >two</seg\n></p>\n<doc docid='b'><seg id=\"1\">three</p></doc>\n"
                + "<DOC docid=c><hl><SEG>four</hl></DOC></srcset>",
            "<srcset><doc docid=\"a\"><seg id=\"1>one <b</seg><seg id=\"2\">two</seg></doc><doc docid=\"b\"><seg id=\"1\">three<doc docid=\"c\"><seg id=\"1\">four</seg>"
                + "</srcset>",
        ] {
            let got = try Reading(.wmt, [try directory.write(text, to: "s.sgm"), target])
            #expect(got.sources == ["one <b", "two", "three", "four"] && got.targets == ["A", "B", "C", "D"], "\(got.sources) \(got.errors)")
        }
        // Segments without documents are one document.
        let bare = try directory.write("<seg id=1>x\n<seg id=2>y\n</refset>", to: "bare.sgm")
        #expect(try Reading(.wmt, [bare, bare]).sources == ["x", "y"])
        for (cut, line) in [("<srcset>\n<doc docid=a>\n<seg id=1>x", 3), ("<srcset>\n<doc docid=a>\n<seg id=1>x</seg>\n", 2), ("<srcset>\n<doc docid=\"a", 2)] {
            let path = try directory.write(cut, to: "cut.sgm")
            let error = userError { _ = try Reading(.wmt, [path, target]) }
            #expect(error?.exitCode == .badData && error?.place == "\(path):\(line)", "\(error?.description ?? cut)")
        }
    }

    @Test func languagesThatSetsSayOfThemselves() throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write("<srcset srclang=\"en-GB\"><doc docid=a><seg id=1>x</seg></doc></srcset>", to: "s.sgm")
        let target = try directory.write("<refset srclang=\"en\" trglang=\"de\"><doc docid=a><seg id=1>y</seg></doc></refset>", to: "r.sgm")
        func read(_ languages: String, _ files: [String]) throws -> [String] {
            try Reading(.wmt, files) { $0.languages = try? LanguagePair(languages) }.sources
        }
        #expect(try read("en-de", [source, target]) == ["x"] && read("de-en", [target, source]) == ["y"])
        for (languages, files) in [("de-en", [source, target]), ("en-fr", [source, target]), ("en-de", [target, source])] {
            #expect(userError { _ = try read(languages, files) }?.exitCode == .usage, "\(languages)")
        }
        let xml = { (body: String) in try directory.write("<dataset>\(body)</dataset>", to: "t.xml") }
        func document(_ id: String, _ source: String, _ references: [String]) -> String {
            "<doc id=\"\(id)\"><src lang=\"\(source)\"><seg id=\"1\">\(source) if a <b</seg></src>"
                + references.map { "<ref lang=\"\($0)\"><seg id=\"1\">\($0)</seg></ref>" }.joined() + "</doc>"
        }
        let two = try xml(document("1", "en", ["fr", "de"]) + document("2", "en", ["de", "fr"]))
        let error = userError { _ = try Reading(.wmt, [two]) }
        #expect(error?.exitCode == .usage && error?.description.contains("its languages are en, fr, de") == true)
        let german = try Reading(.wmt, [two]) { $0.languages = try? LanguagePair("en-de") }
        #expect(german.targets == ["de", "de"] && german.sources == ["en if a <b", "en if a <b"])
        #expect(userError { _ = try Reading(.wmt, [two]) { $0.languages = try? LanguagePair("fr-de") } }?.exitCode == .usage)
        let mixed = try xml(document("1", "en", ["de"]) + document("2", "de", ["en"]))
        #expect(userError { _ = try Reading(.wmt, [mixed]) }?.exitCode == .usage)
    }

    @Test func tagsOfLanguages() throws {
        for (text, source, target) in [
            ("en-de", "en", "de"), ("pt_BR-en", "pt_BR", "en"), ("en-GB:de-DE", "en-GB", "de-DE"), ("en-GB-de-DE", "en-GB", "de-DE"), ("zh-Hans-CN-en", "zh-Hans-CN", "en"),
            ("es-419-en", "es-419", "en"), ("EN-DE", "EN", "DE"),
        ] {
            #expect(try LanguagePair(text) == LanguagePair(source: source, target: target), "\(text)")
        }
        for text in ["ende", "en-", "-de", "", "en-de-fr", "en:", "en:de:fr", "a-b-c"] {
            #expect(userError { _ = try LanguagePair(text) }?.exitCode == .usage, "\(text)")
        }
        for (wanted, found, isIncluded) in [
            ("en", "en-GB", true), ("EN", "en", true), ("en-US", "en", false), ("en-US", "en-GB", false), ("de-DE", "de-Latn-DE", true), ("zh_Hant", "zh-Hant-TW", true),
            ("en", "eng", false), ("de-DE", "de-x-DE", false), ("en", "", false),
        ] {
            #expect(LanguageTag(wanted).includes(LanguageTag(found)) == isIncluded, "\(wanted) \(found)")
        }
        #expect(LanguageTag("en").matches(among: ["en-US", "de", "en"]) == [2] && LanguageTag("en").matches(among: ["en-US", "de", "en-GB"]) == [0, 2])
    }

    @Test func noDirectionIsGuessed() throws {
        let directory = try TemporaryDirectory()
        func memory(_ header: String, _ units: [[(String, String)]]) throws -> String {
            let body = units.map { "<tu>" + $0.map { "<tuv xml:lang=\"\($0)\"><seg>\($1)</seg></tuv>" }.joined() + "</tu>\n" }.joined()
            return try directory.write("<tmx version=\"1.4\"><header \(header)/><body>\n\(body)</body></tmx>", to: "t.tmx")
        }
        let both = [[("de", "D eins"), ("en", "E one")], [("en", "E two"), ("de", "D zwei")]]
        let said = try Reading(.wmt, [memory("srclang=\"EN\"", both)])
        #expect(said.sources == ["E one", "E two"] && said.targets == ["D eins", "D zwei"])
        for header in ["", "srclang=\"*all*\""] {
            let path = try memory(header, both)
            let error = userError { _ = try Reading(.wmt, [path]) }
            #expect(error?.exitCode == .usage && error?.description.contains("its languages are de, en") == true, "\(error?.description ?? "")")
            let asked = try Reading(.wmt, [path]) { $0.languages = try? LanguagePair("de-en") }
            #expect(asked.sources == ["D eins", "D zwei"])
        }
        let third = [[("en", "a"), ("de", "b")], [("en", "c"), ("fr", "d")]]
        #expect(userError { _ = try Reading(.wmt, [memory("srclang=\"en\"", third)]) }?.description.contains("its languages are en, fr") == true)
        let several = [[("en", "a"), ("de", "b"), ("fr", "c")]]
        #expect(userError { _ = try Reading(.wmt, [memory("srclang=\"en\"", several)]) }?.exitCode == .usage)
        let regions = [[("en-US", "us"), ("en-GB", "gb"), ("de-DE", "d")]]
        let british = try Reading(.wmt, [memory("srclang=\"en\"", regions)]) { $0.languages = try? LanguagePair("en-GB-de") }
        #expect(british.sources == ["gb"] && british.targets == ["d"])
        // A unit without an end costs itself, and not the one behind it.
        let text = "<tmx><header srclang=\"en\"/><body><tu><tuv xml:lang=\"en\"><seg>a</seg></tuv>\n<tu><tuv xml:lang=\"en\"><seg>b <c</seg></tuv>"
            + "<tuv xml:lang=\"de\"><seg>x <i>y</i> <unk> &lt;z&gt; <ph>{1}</ph><![CDATA[<q>]]><!-- n --></seg></tuv></tu></body></tmx>"
        let got = try Reading(.wmt, [directory.write(text, to: "u.tmx")])
        #expect(got.sources == ["b <c"] && got.targets == ["x y <unk> <z> <q>"] && got.errors.map(\.place.line) == [1], "\(got)")
    }

    @Test func translationMemories() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write(
            """
            <tmx version="1.4"><body>
            <tu><tuv xml:lang="en-GB"><seg>a <bpt i="1">{b}</bpt>bold<ept i="1"/> <hi>word</hi></seg></tuv>\
            <tuv xml:lang="de"><seg>fett</seg></tuv></tu>
            <tu><tuv xml:lang="fr"><seg>un</seg></tuv><tuv xml:lang="de"><seg>eins</seg></tuv></tu>
            </body></tmx>
            """, to: "t.tmx")
        let got = try Reading(.wmt, [path]) { $0.languages = LanguagePair(source: "de", target: "en") }
        #expect(got.sources == ["fett"])
        #expect(got.targets == ["a bold word"])
        #expect(got.errors.count == 1)
        let undecided = userError { _ = try Reading(.wmt, [path]) }
        #expect(undecided?.exitCode == .usage && undecided?.description.contains("its languages are en-GB, de, fr") == true)
        // Cut off in the first unit, and between two units.
        let text = try String(contentsOfFile: path, encoding: .utf8)
        for end in ["fett</seg></tuv>", "</tu>"] {
            let cut = try directory.write(String(text[..<#require(text.range(of: end)).upperBound]), to: "cut.tmx")
            let error = userError { _ = try Reading(.wmt, [cut]) { $0.languages = try? LanguagePair("en-de") } }
            #expect(error?.exitCode == .badData && error?.place == "\(cut):\(end == "</tu>" ? 1 : 2)", "\(error?.description ?? end)")
        }
    }
}
