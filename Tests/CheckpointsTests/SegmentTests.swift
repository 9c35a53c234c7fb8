// State in segments: written once, shared by checkpoints, gone with the last of them.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite struct SegmentTests {
    /// A log of records, a segment for each batch that was added.
    private final class RecordLog: RunState {
        let stateName = "log"
        let store: SegmentStore
        var segments: [SegmentReference] = []

        init(_ directory: String) { store = SegmentStore(run: directory) }

        var stateItems: [StateItem] { [StateItem(segments: "log/records") { [self] in segments } restore: { [self] in segments = $0 }] }

        func add(_ text: String) throws { segments.append(try store.write(Array(text.utf8))) }
        func text() throws -> String { String(decoding: try segments.flatMap { try store.read($0) }, as: UTF8.self) }
    }

    private func save(_ log: RecordLog, _ directory: String, step: Int, keep: Int = 2) throws {
        let writer = CheckpointWriter(directory: directory, rank: 0, worldSize: 1, keep: keep)
        let registry = RunStateRegistry([log])
        writer.begin(step: step, attributes: registry.attributes, items: try registry.items.map { try $0.checkpointItem() })
        try writer.waitForShard()
        try writer.publish()
    }

    @Test("checkpoints share segments; each comes back as it was; what none names goes")
    func sharing() throws {
        try withScratchDirectory { directory in
            let log = RecordLog(directory)
            for step in 1...4 {
                try log.add("batch \(step)\n")
                // A segment that was dropped again, such as one that was compacted.
                if step == 3 { log.segments.removeFirst() }
                try save(log, directory, step: step)
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "/segments").count == 4)
            let checkpoints = CheckpointStore(directory: directory)
            #expect(try checkpoints.steps() == [3, 4])
            let named = try checkpoints.steps().reduce(into: Set<SegmentReference>()) {
                $0.formUnion(try CheckpointReader(directory: checkpoints.directory(step: $1)).segments(["log/records"]))
            }
            #expect(try log.store.sweep(keeping: named).isEmpty)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "/segments").count == 3)

            let back = RecordLog(directory)
            let restored = try RunStateRegistry([back]).restoreNewest(from: checkpoints, communicator: SingleProcess()) { _ in }
            #expect(restored?.step == 4 && back.segments == log.segments)
            #expect(try back.text() == "batch 2\nbatch 3\nbatch 4\n")
        }
    }

    @Test("a segment that is damaged or gone is told by its name")
    func damage() throws {
        try withScratchDirectory { directory in
            let log = RecordLog(directory)
            try log.add("one\n")
            let path = log.store.path(of: log.segments[0])
            try Data("two\n".utf8).write(to: URL(fileURLWithPath: path))
            let damaged = try #require(throws: UserError.self) { try log.text() }
            #expect(damaged.exitCode == .badData && damaged.description.hasPrefix(path))
            // Who writes it again mends it.
            #expect(try log.store.write(Array("one\n".utf8)) == log.segments[0] && log.text() == "one\n")
            try FileManager.default.removeItem(atPath: path)
            #expect(try #require(throws: UserError.self) { try log.text() }.exitCode == .missingInput)
        }
    }
}
