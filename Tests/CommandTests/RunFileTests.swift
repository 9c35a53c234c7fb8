// Every run file that comes with Mneme.

import Foundation
import TestSupport
import Testing

@Suite struct RunFileTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../launch/runs").standardizedFileURL

    /// The names of all run files, without `.yaml`.
    private static var names: [String] {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return files.filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }.sorted()
    }

    @Test("every run file is accepted, is resolved to one that means the same, and names its run directory after itself")
    func dryRuns() throws {
        #expect(Self.names.count >= 30, "\(Self.names)")
        try withScratchDirectory { scratch in
            for name in Self.names {
                func resolved(_ path: String) throws -> String {
                    let run = try MPIRun.runAlone(
                        executable: "mneme", arguments: ["train", path, "--dry-run"], extraEnvironment: ["MNEME_DATA": "/nowhere"])
                    #expect(run.status == 0, "\(name): \(run.standardError)")
                    return run.standardOutput
                }
                let text = try resolved(Self.folder.appending(path: "\(name).yaml").path)
                #expect(text.contains("run: checkpoints/\(name)\n") || text.contains("run: \(name)\n"), "\(name): \(text.prefix(80))")
                let copy = "\(scratch)/\(name).yaml"
                try text.write(toFile: copy, atomically: true, encoding: .utf8)
                #expect(try resolved(copy) == text, "\(name)")
            }
        }
    }
}
