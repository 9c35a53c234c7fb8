// What a file is, told by its content: compressions, archives, encodings.

import Corpora
import Diagnostics
import Foundation
import Inputs
import TestSupport
import Testing

@Suite struct ContentTests {
    private func text(_ path: String) throws -> String { String(decoding: try TextFile.bytes(path), as: UTF8.self) }

    /// Runs a shell script in a directory.
    private func shell(_ script: String, in directory: String) throws {
        let result = try runProgram("/bin/sh", ["-euc", "cd \"$0\"; \(script)", directory])
        try #require(result.status == 0, "\(result.errors)")
    }

    /// Text of which a compressed form is longer than the buffers.
    private let long = (0..<60_000).map { "line \($0) \($0 &* 2_654_435_761 % 1_000_003)\n" }.joined()

    // MARK: Compressions

    @Test(arguments: ["gzip", "bzip2", "xz"])
    func compressedFilesReadAsTheirContent(_ program: String) throws {
        let directory = try TemporaryDirectory()
        try directory.write(long, to: "a.txt")
        try directory.write("tail\n", to: "b.txt")
        try shell(
            """
            \(program) -c a.txt > whole; \(program) -c b.txt > b; cat whole b > two; head -c 3000 whole > cut
            : > empty; \(program) -c empty > none
            """, in: directory.path)
        #expect(try text(directory.path + "/whole") == long)
        #expect(try text(directory.path + "/two") == long + "tail\n")
        #expect(try text(directory.path + "/none") == "")
        let cut = userError { _ = try text(directory.path + "/cut") }
        #expect(cut?.exitCode == .badData && cut?.description.contains("the \(program) file ends in the middle") == true, "\(cut?.description ?? "")")
        var damaged = Array(try Data(contentsOf: URL(fileURLWithPath: directory.path + "/whole")))
        for place in stride(from: 2000, to: 2100, by: 7) { damaged[place] ^= 0x55 }
        let error = userError { _ = try text(try directory.write(damaged, to: "damaged")) }
        #expect(error?.exitCode == .badData && error?.description.contains("byte") == true, "\(error?.description ?? "")")
        let named = userError { _ = try text(try directory.write("plain", to: "plain" + ["gzip": ".gz", "bzip2": ".bz2", "xz": ".xz"][program]!)) }
        #expect(named?.what.contains("is not a \(program) file") == true)
    }

    @Test func textThatBeginsLikeACompressionIsText() throws {
        let directory = try TemporaryDirectory()
        for start in ["BZh", "BZh9 is the mark of bzip2\n", "PK", "Rar", "\u{1f}", "LZIP"] {
            #expect(try text(try directory.write(start, to: "a")) == start)
        }
    }

    @Test func contentThatIsNoTextIsNamed() throws {
        let directory = try TemporaryDirectory()
        let pdf = userError { _ = try text(try directory.write("%PDF-1.4\n1 0 obj\n", to: "a.txt")) }
        #expect(pdf?.exitCode == .badData && pdf?.what == "is a PDF document")
        let hdf5 = userError { _ = try text(try directory.write([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a], to: "a.h5")) }
        #expect(hdf5?.what == "is an HDF5 file")
    }

    // MARK: Archives

    @Test(arguments: [
        "tar cf a.tar", "tar czf a.tgz", "tar cjf a.tbz2", "tar cJf a.tar.xz", "tar --format=ustar -cf a.tar", "tar --format=pax -cf a.tar",
        "zip -qr a.zip", "zip -0qr a.zip",
    ])
    func membersAreFiles(_ program: String) throws {
        let directory = try TemporaryDirectory()
        let deep = (0..<12).map { "folder number \($0)" }.joined(separator: "/")
        try directory.write(long, to: "data/a.txt")
        try directory.write("second\n", to: "data/\(deep)/b.txt")
        try directory.write("hidden", to: "data/.c.txt")
        try directory.write("x,y\n", to: "data/d.csv")
        try shell("ln -s a.txt data/link.txt; \(program) data", in: directory.path)
        let archive = directory.path + "/" + String(program.split(separator: " ").first { $0.hasPrefix("a.") } ?? "")
        let input = try #require(try InputFiles.list([archive], wanted: "text") { $0.hasSuffix(".txt") }.first)
        // Info-ZIP follows links.
        let names = ["\(archive):data/a.txt", "\(archive):data/\(deep)/b.txt"] + (program.hasPrefix("zip") ? ["\(archive):data/link.txt"] : [])
        #expect(input.files.sorted() == names.sorted())
        #expect(input.passedOver.map(\.reason) == (program.hasPrefix("zip") ? [.hidden, .otherName] : [.hidden, .linkInArchive, .otherName]))
        #expect(input.filesOnDisk == [archive])
        for _ in 0..<2 {
            for file in input.files { #expect(try text(file) == (file.hasSuffix("b.txt") ? "second\n" : long)) }
        }
        // Two members at the same time.
        let pair = Array(input.files.prefix(2))
        let readers = try pair.map { try LineReader(path: $0) }
        var counts = [0, 0]
        while try readers[0].advance() {
            counts[0] += 1
            if try readers[1].advance() { counts[1] += 1 }
        }
        #expect(counts.reduce(0, +) == 60_001 || counts == [1, 1])
        #expect(InputFiles.name(of: archive + ":a.txt") == "a.txt" && InputFiles.formatExtension(of: archive + ":d.csv") == "csv")
        #expect(try InputFiles.list([archive + ":data/\(deep)"], wanted: "text").flatMap(\.files) == ["\(archive):data/\(deep)/b.txt"])
        let several = userError { _ = try text(archive) }
        #expect(several?.exitCode == .badData && several?.description.contains("archive of") == true)
        let absent = userError { _ = try text(archive + ":data/none.txt") }
        #expect(absent?.exitCode == .missingInput && absent?.what.contains("holds no such file") == true)
    }

    @Test func anArchiveOfOneFileIsThatFile() throws {
        let directory = try TemporaryDirectory()
        try directory.write("one\ntwo\n", to: "g.en")
        try directory.write("eins\nzwei\n", to: "g.de")
        try shell("tar czf en.tgz g.en; tar czf de.tgz g.de; zip -q en.zip g.en; tar czf both.tgz g.en g.de", in: directory.path)
        #expect(try text(directory.path + "/en.tgz") == "one\ntwo\n" && text(directory.path + "/en.zip") == "one\ntwo\n")
        #expect(try Reading(.wmt, [directory.path + "/en.tgz", directory.path + "/de.tgz"]).targets == ["eins", "zwei"])
        #expect(try Reading(.wmt, [directory.path + "/both.tgz"]) { $0.languages = LanguagePair(source: "de", target: "en") }.targets == ["one", "two"])
        #expect(try Reading(.wmt, [directory.path + "/both.tgz:g.en", directory.path + "/both.tgz:g.de"]).targets == ["eins", "zwei"])
        let error = userError { _ = try Reading(.wmt, [directory.path + "/both.tgz"]) }
        #expect(error?.exitCode == .missingInput && error?.advice?.contains("--languages") == true)
    }

    @Test func aTruncatedOrDamagedArchiveIsAnError() throws {
        let directory = try TemporaryDirectory()
        try directory.write(long, to: "a.txt")
        try directory.write(long, to: "b.txt")
        try shell("tar cf a.tar a.txt b.txt; head -c 100000 a.tar > cut.tar; zip -q a.zip a.txt b.txt; head -c 100000 a.zip > cut.zip", in: directory.path)
        for name in ["cut.tar", "cut.zip"] {
            let error = userError { _ = try InputFiles.list([directory.path + "/" + name], wanted: "file") }
            #expect(error?.exitCode == .badData, "\(name): \(error?.description ?? "")")
        }
        var zip = Array(try Data(contentsOf: URL(fileURLWithPath: directory.path + "/a.zip")))
        zip[20_000] ^= 0x55
        let path = try directory.write(zip, to: "damaged.zip")
        #expect(userError { _ = try text(path + ":a.txt") }?.exitCode == .badData)
        #expect(try text(path + ":b.txt") == long)
    }

    @Test func anArchiveInAFolderIsPassedOverAndCounted() throws {
        let directory = try TemporaryDirectory()
        try directory.write("one\n", to: "data/a.txt")
        try shell("cd data; tar czf a.tgz a.txt; tar cf a.tar a.txt", in: directory.path)
        let input = try #require(try InputFiles.list([directory.path + "/data"], wanted: "file").first)
        #expect(input.files == [directory.path + "/data/a.txt"])
        #expect(input.passedOver.map(\.description) == ["2 archives (name them to read them): \(directory.path)/data/a.tar, ..."])
    }

    // MARK: Encodings

    @Test(arguments: ["UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32", "UTF-32LE", "UTF-32BE"])
    func wideEncodingsAreToldWithAndWithoutAMark(_ encoding: String) throws {
        let directory = try TemporaryDirectory()
        for text in ["Grüße, 𝄞 an alle\nzwei\n", long] {
            try directory.write(text, to: "a.txt")
            try shell("iconv -f UTF-8 -t \(encoding) a.txt > b.txt; gzip -c b.txt > b.txt.gz", in: directory.path)
            #expect(try self.text(directory.path + "/b.txt") == text)
            #expect(try self.text(directory.path + "/b.txt.gz") == text)
        }
        // Through a buffer of every small size.
        try directory.write("abcdefgh\u{e9}\u{20ac}\u{1d11e}zyx\n", to: "a.txt")
        try shell("iconv -f UTF-8 -t \(encoding) a.txt > b.txt", in: directory.path)
        for size in 1...9 {
            let source = try ByteSource(path: directory.path + "/b.txt")
            var bytes: [UInt8] = []
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
            defer { buffer.deallocate() }
            while true {
                let count = try source.read(into: buffer)
                if count == 0 { break }
                bytes += buffer[..<count]
            }
            #expect(String(decoding: bytes, as: UTF8.self) == "abcdefgh\u{e9}\u{20ac}\u{1d11e}zyx\n")
        }
    }

    @Test func otherAlphabetsAreToldByTheirSpaces() throws {
        let directory = try TemporaryDirectory()
        let text = String(repeating: "Привет, мир 12! ", count: 40)
        try directory.write(text, to: "a.txt")
        for encoding in ["UTF-16LE", "UTF-16BE"] {
            try shell("iconv -f UTF-8 -t \(encoding) a.txt > b.txt", in: directory.path)
            #expect(try self.text(directory.path + "/b.txt") == text)
        }
    }

    @Test func illFormedUnitsAreWrongRecords() throws {
        let directory = try TemporaryDirectory()
        // "ok", a lone surrogate between a and b, "ok", and half a unit.
        let units: [UInt16] = Array("ok\na".utf16) + [0xd800] + Array("b\nok\n".utf16)
        let bytes: [UInt8] = [0xff, 0xfe] + units.flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] } + [0x41]
        let path = try directory.write(bytes, to: "a.txt")
        let read = try Reading(.text, [path]) { $0.documents = .line }
        #expect(read.sources == ["ok", "ok"] && read.errors.map(\.place.line) == [2, 4])
    }

    @Test func aZeroByteInTextIsNamedWithItsLine() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("good line\nbad \0 line\ngood again, and long enough for a text\n", to: "a.txt")
        let lines = try Reading(.text, [path]) { $0.documents = .line }
        #expect(lines.sources == ["good line", "good again, and long enough for a text"])
        #expect(lines.errors.map(\.what) == ["byte 0x00 at byte 14: is it UTF-16, or no text?"] && lines.errors[0].place.line == 2)
        let whole = try Reading(.text, [path])
        #expect(whole.records.isEmpty && whole.errors.map(\.place.line) == [2])
        let csv = try directory.write("id,article,highlights\n1,a\0b,h\n2,a,h\n", to: "a.csv")
        let table = try Reading(.cnnDailyMail, [csv])
        #expect(table.records.count == 1 && table.errors.map(\.what) == ["byte 0x00 in field 2: is it UTF-16, or no text?"])
    }

    @Test func markupIsReadInTheEncodingThatItDeclares() throws {
        let directory = try TemporaryDirectory()
        let tmx = """
            <?xml version="1.0" encoding="ENCODING"?>
            <tmx version="1.4"><body><tu><tuv xml:lang="en"><seg>caf\u{e9}</seg></tuv><tuv xml:lang="de"><seg>Caf\u{e9} \u{fc}</seg></tuv></tu></body></tmx>
            """
        for (declared, encoding, mark) in [
            ("UTF-16", "UTF-16", ""), ("utf-16", "UTF-16LE", ""), ("UTF-16", "UTF-16BE", ""), ("ISO-8859-1", "ISO-8859-1", ""),
            ("windows-1252", "CP1252", ""), ("UTF-8", "UTF-8", "printf '\\357\\273\\277';"),
            // Converted, with the old declaration in it.
            ("UTF-16", "UTF-8", ""),
        ] {
            try directory.write(tmx.replacing("ENCODING", with: declared), to: "plain")
            try shell("(\(mark) iconv -f UTF-8 -t \(encoding) plain) > a.tmx", in: directory.path)
            let read = try Reading(.wmt, [directory.path + "/a.tmx"]) { $0.languages = LanguagePair(source: "en", target: "de") }
            #expect(read.sources == ["café"] && read.targets == ["Café ü"], "\(declared) in \(encoding): \(read.errors)")
        }
        let unknown = userError {
            _ = try text(try directory.write("<?xml version='1.0' encoding='x-none-such'?><a/>", to: "b.xml"))
        }
        #expect(unknown?.exitCode == .badData && unknown?.what.contains("X-NONE-SUCH") == true)
    }

    // MARK: Anything

    /// What is damaged in any way gives text, wrong records, or an error for the user; never anything else, and not more than it holds.
    @Test(arguments: ["a.txt.gz", "a.txt.bz2", "a.txt.xz", "a.tar", "a.tgz", "a.zip", "a16.txt", "a32.txt"])
    func damagedContentIsReadOrRefused(_ name: String) throws {
        let directory = try TemporaryDirectory()
        try directory.write((0..<200).map { "line \($0) of text\n" }.joined(), to: "a.txt")
        try directory.write("other\n", to: "b.txt")
        try shell(
            """
            gzip -k a.txt; bzip2 -k a.txt; xz -k a.txt; tar cf a.tar a.txt b.txt; tar czf a.tgz a.txt b.txt; zip -q a.zip a.txt b.txt
            iconv -t UTF-16 a.txt > a16.txt; iconv -t UTF-32BE a.txt > a32.txt
            """, in: directory.path)
        let whole = Array(try Data(contentsOf: URL(fileURLWithPath: directory.path + "/" + name)))
        var state = UInt64(name.utf8.reduce(0) { $0 &* 31 &+ Int($1) })
        func random(_ bound: Int) -> Int {
            state = mixedBits(state)
            return Int(state % UInt64(bound))
        }
        for _ in 0..<250 {
            var bytes = whole
            for _ in 0...random(4) {
                switch random(4) {
                case 0: bytes[random(bytes.count)] = UInt8(random(256))
                case 1: bytes.removeSubrange(random(bytes.count)...)
                case 2: bytes.insert(contentsOf: (0..<random(9)).map { _ in UInt8(random(256)) }, at: random(bytes.count + 1))
                default:
                    let start = random(bytes.count)
                    bytes.replaceSubrange(start..<min(bytes.count, start + 1 + random(40)), with: repeatElement(UInt8(random(256)), count: random(40)))
                }
                if bytes.isEmpty { bytes = [0] }
            }
            let path = try directory.write(bytes, to: "damaged")
            do {
                for file in try InputFiles.list([path], wanted: "file").flatMap(\.files) {
                    let reader = try LineReader(path: file)
                    var lines = 0
                    while try reader.advance() { lines += 1 }
                    #expect(lines < 1_000_000)
                }
            } catch let error as UserError {
                #expect([.badData, .missingInput].contains(error.exitCode), "\(error)")
            }
        }
    }
}
