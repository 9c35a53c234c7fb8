// Files and directories that are there whole or not at all.

import Diagnostics
import Foundation
import Storage
import TestSupport
import Testing

@Suite struct DurableFileTests {
    @Test("a file is replaced whole; a failure leaves the old one and nothing beside it")
    func replacing() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/x.json"
            try DurableFile.replace(path, by: Array("one".utf8))
            try DurableFile.replace(path, by: Array("two".utf8))
            #expect(try DurableFile.read(path) == Array("two".utf8))
            #expect(try Directory.names(in: directory) == ["x.json"])
            let error = try #require(throws: UserError.self) { try DurableFile.replace("\(path)/y", by: [UInt8](repeating: 0, count: 3)) }
            #expect(error.exitCode == .inputOutput && error.description.hasPrefix("\(path)/y: cannot be written: Not a directory"))
            #expect(DurableFile.isPartial(".x.json.partial-123") && !DurableFile.isPartial(".x.partial-") && !DurableFile.isPartial("x.partial-1"))
        }
    }

    @Test("a pipe, a directory and a socket are refused at once, and an absent file is told from one that may not be read")
    func kinds() throws {
        try withScratchDirectory { directory in
            mkfifo("\(directory)/pipe", 0o666)
            for (name, code, words) in [
                ("pipe", ExitCode.badData, "is a pipe, not a file"), ("", .badData, "is a directory, not a file"),
                ("absent", .missingInput, "No such file or directory"), ("absent/x", .missingInput, "No such file or directory"),
            ] {
                let error = try #require(throws: UserError.self) { try DurableFile.read("\(directory)/\(name)") }
                #expect(error.exitCode == code && error.description.contains(words), "\(error)")
            }
        }
    }

    @Test("directories: made with those above, listed by bytes, exchanged, removed whole")
    func directories() throws {
        try withScratchDirectory { directory in
            try Directory.make("\(directory)/a/b/c")
            try Directory.make("\(directory)/a/b/c")
            #expect(Directory.exists("\(directory)/a/b/c") == .directory)
            for name in ["é", "b", "B", ".h"] { try Data(name.utf8).write(to: URL(fileURLWithPath: "\(directory)/a/b/c/\(name)")) }
            #expect(try Directory.names(in: "\(directory)/a/b/c") == [".h", "B", "b", "é"])
            #expect(try Directory.names(in: "\(directory)/none") == [])
            let listed = try #require(throws: UserError.self) { try Directory.names(in: "\(directory)/a/b/c/b") }
            #expect(listed.exitCode == .inputOutput)

            try Directory.make("\(directory)/d")
            if try Directory.exchange("\(directory)/a", "\(directory)/d") {
                #expect(try Directory.names(in: "\(directory)/d/b/c").count == 4 && Directory.names(in: "\(directory)/a") == [])
            }
            // A link is removed, not what it leads to.
            let target = "\(directory)/target"
            try Directory.make(target)
            try Data("keep".utf8).write(to: URL(fileURLWithPath: "\(target)/keep"))
            symlink(target, "\(directory)/d/link")
            try Directory.removeAtomically("\(directory)/d")
            try Directory.removeAtomically("\(directory)/d")
            #expect(try Directory.names(in: directory) == ["a", "target"] && Directory.names(in: target) == ["keep"])
        }
    }

    @Test("orders for failpoints: what is not understood is named")
    func orders() throws {
        for text in ["x", "x:kill", "file.sync:die", "file.sync:-1:kill", "file.sync:kill@", "file.sync:kill@x", "file.sync:1:2:kill", "file.sync"] {
            let error = try #require(throws: UserError.self, "\(text)") { try Failpoint.arm(text, rank: 0) }
            #expect(error.exitCode == .usage && error.description.hasPrefix("MNEME_FAILPOINT: "), "\(error)")
        }
        #expect(Set(Failpoint.allCases.map(\.rawValue)).count == Failpoint.allCases.count)
    }
}
