// `mneme checkpoint verify`

import ArgumentParser
import Checkpoints
import Diagnostics

struct CheckpointVerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Read whole checkpoints and compare every item with its checksum.",
        discussion: """
            Exit code 65 where the data are damaged, 66 where a file is missing; the error names the item and the file. The digest is of \
            all items; checkpoints with the same digest hold the same, whatever the number of ranks that wrote them.

            Examples:
              mneme checkpoint verify checkpoints/wmt-en-de
            """)

    @Argument(help: "Run directories (the newest checkpoint of each), checkpoints' directories, or checkpoint.h5 files.")
    var paths: [String]

    @Flag(help: "Print one JSON array.")
    var json = false

    func validate() throws {
        if paths.isEmpty { throw ValidationError("Missing a checkpoint") }
    }

    func run() throws {
        var verified: [Entry] = []
        for path in paths {
            let reader = try CheckpointReader(directory: CheckpointStore.resolve(path))
            let digest = try reader.verify()
            let entry = Entry(
                directory: reader.directory, step: reader.step, items: reader.items.count, bytes: reader.items.reduce(0) { $0 + $1.byteCount },
                digest: digest.description)
            try reader.close()
            verified.append(entry)
            let size = CheckpointOutput.size(entry.bytes)
            if !json { try print("\(PathText.shown(entry.directory)): \(entry.items) items, \(size), every checksum right, digest \(entry.digest)") }
        }
        if json { try JSONOutput.print(verified) }
    }

    /// A checkpoint that is as it was written.
    private struct Entry: Encodable {
        let directory: String
        let step: Int
        let items: Int
        let bytes: Int
        let digest: String
    }
}
