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
        #expect(try Reading(.wmt, [path]).targets == ["fett", "eins"])
        // Cut off in the first unit, and between two units.
        let text = try String(contentsOfFile: path, encoding: .utf8)
        for end in ["fett</seg></tuv>", "</tu>"] {
            let cut = try directory.write(String(text[..<#require(text.range(of: end)).upperBound]), to: "cut.tmx")
            let error = userError { _ = try Reading(.wmt, [cut]) }
            #expect(error?.exitCode == .badData && error?.place == "\(cut):\(end == "</tu>" ? 1 : 2)", "\(error?.description ?? end)")
        }
    }
}
