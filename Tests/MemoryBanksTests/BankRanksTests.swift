// The same bank on any number of ranks, and with a run's checkpoints.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing

@Suite struct BankRanksTests {
    private static let rules = BankConfiguration(
        keyWidth: 8, capacity: 150, eviction: .leastUsed, admission: 2, metric: .cosine, encoder: "hashed-ngrams", blockRows: 8, shards: 4)

    /// Random edits of every kind; what each answered, and what searches found.
    static func script(_ bank: MemoryBank, from first: Int, to last: Int) throws -> [String] {
        var answers: [String] = []
        for round in first..<last {
            var random = Randomness(state: UInt64(round))
            func name(_ below: Int) -> String { "r\(Int.random(in: 0..<below, using: &random))" }
            func batch(_ count: Int) -> [BankRecord] {
                Dictionary((0..<count).map { _ in (name(400), ()) }, uniquingKeysWith: { first, _ in first }).keys.sorted().map {
                    record(
                        $0, "text of \($0)", in: "n\($0.utf8.count % 3)", source: "s\($0.utf8.last! % 7)",
                        parents: $0.utf8.last! % 5 == 0 ? ["r1\($0.dropFirst())"] : [])
                }
            }
            do {
                let receipt: BankReceipt
                switch round % 8 {
                case 0, 1, 2: receipt = try bank.append(batch(60), edit(step: round))
                case 3: receipt = try bank.put(batch(10), resurrecting: true, edit(step: round))
                case 4:
                    var filter = BankFilter(.all)
                    filter.source = "s\(round % 7)"
                    receipt = try bank.delete(
                        filter, children: .cascade, confirming: try bank.deletion(of: filter).digest, edit(step: round))
                case 5: receipt = try bank.revert(bank.receipts.last { $0.action == .delete }?.commit ?? 1, edit(step: round))
                case 6:
                    var patch = BankPatch()
                    patch.value = .text("changed in \(round)")
                    receipt = try bank.update(BankFilter(.one("n2")), patch, edit(step: round))
                default:
                    for _ in 0..<10 { try bank.recordUse(BankFilter(.all, ids: [name(400), name(400)]), step: round) }
                    receipt =
                        round % 16 == 7
                        ? try bank.compact(edit(step: round)) : try bank.put(batch(3), resurrecting: true, edit(step: round))
                }
                answers.append("\(receipt)")
            } catch let error as UserError {
                answers.append(error.what)
            }
            let hits = try bank.search(HashedNGrams(width: 8).key("text of \(name(400))"), count: 9, in: BankFilter(.all))
            answers.append(
                "\(try bank.recordCount()) \(try bank.namespaces().map { "\($0)" }) \(hits.map { "\($0.score) \($0.record.namespace) \($0.record.id) \($0.record.version)" })"
            )
        }
        return answers
    }

    @Test("1, 2 and 4 ranks: the same answers, receipts, files and digest, and one goes on from what another number left")
    func sameBits() throws {
        try withScratchDirectory { directory in
            func run(_ sizes: [Int]) throws -> (answers: [String], files: [String: [UInt8]]) {
                let path = "\(directory)/\(sizes.map(String.init).joined(separator: "-"))"
                var answers: [String] = []
                for (part, size) in sizes.enumerated() {
                    let results = try LoopbackCommunicator.run(size: size) { communicator in
                        let bank = part == 0 ? try makeBank(path, Self.rules, communicator: communicator) : try openBank(path, communicator)
                        let answers = try Self.script(bank, from: part * 48 / sizes.count, to: (part + 1) * 48 / sizes.count)
                        try communicator.barrier()
                        bank.close()
                        return answers
                    }
                    #expect(results.allSatisfy { $0 == results[0] })
                    answers += results[0]
                }
                return (answers, try files(path))
            }
            let one = try run([1])
            #expect(
                one.answers.contains { $0.contains("evicted: 1") || $0.contains("evicted: 2") }
                    && one.answers.contains { $0.contains("action: MemoryBanks.BankReceipt.Action.revert") })
            for sizes in [[2], [4], [1, 4, 2]] {
                let other = try run(sizes)
                for (index, (mine, theirs)) in zip(one.answers, other.answers).enumerated() where mine != theirs {
                    Issue.record("\(sizes), answer \(index): \(theirs), not \(mine)")
                    break
                }
                #expect(other.files.keys.sorted() == one.files.keys.sorted())
                #expect(other.files == one.files)
            }
        }
    }

    @Test("a rank's error is every rank's, and nothing is written")
    func errors() throws {
        try withScratchDirectory { directory in
            let errors = try LoopbackCommunicator.run(size: 4) { communicator in
                let bank = try makeBank("\(directory)/bank", Self.rules, communicator: communicator)
                let bad = try #require(throws: UserError.self) {
                    _ = try bank.put([record("a", "good"), record("b", "bad", in: "")], edit())
                }
                try communicator.barrier()
                #expect(try bank.recordCount() == 0)
                return bad.what
            }
            #expect(Set(errors) == ["the record 'b' has no namespace"])
        }
    }

    /// Parameters of a run, beside the bank.
    private final class Weights: RunState {
        let stateName = "parameters"
        var values: [Float] = [1, 2, 3]
        var stateItems: [StateItem] {
            [StateItem("parameters/weights", .float32, shape: [3], save: { [self] in values }, restore: { [self] in values = $0 })]
        }
    }

    private static func save(_ states: [any RunState], _ run: String, step: Int, _ communicator: any Communicator) throws {
        let writer = CheckpointWriter(directory: run, rank: communicator.rank, worldSize: communicator.size, keep: 3)
        let registry = RunStateRegistry(states)
        writer.begin(step: step, attributes: registry.attributes, items: try registry.items.map { try $0.checkpointItem() })
        try writer.waitForShard()
        try communicator.barrier()
        if communicator.rank == 0 { try writer.publish() }
        try communicator.barrier()
    }

    @Test(
        "one commit with the weights: another number of ranks takes both back; what was deleted since stays deleted, what people edited since stays"
    )
    func checkpoints() throws {
        try withScratchDirectory { run in
            let path = "\(run)/banks/facts"
            let saved = try LoopbackCommunicator.run(size: 2) { communicator in
                let bank = try makeBank(path, Self.rules, communicator: communicator)
                let states: [any RunState] = [Weights(), BankState("facts", bank, run: run)]
                _ = try bank.put((0..<40).map { record("r\($0)", "text \($0)") }, edit(step: 1))
                try Self.save(states, run, step: 1, communicator)
                let digest = bank.contentDigest
                // The run goes on, and is lost.
                _ = try bank.put((0..<30).map { record("r\($0)", "text \($0), later") }, edit(step: 2))
                _ = try bank.delete(BankFilter(.one("films"), ids: ["r39"]), edit(step: 2))
                try communicator.barrier()
                bank.close()
                return digest
            }
            for size in [4, 1] {
                let found = try LoopbackCommunicator.run(size: size) { communicator in
                    let bank = try openBank(path, communicator)
                    let weights = Weights()
                    weights.values = []
                    let restored = try RunStateRegistry([weights, BankState("facts", bank, run: run)]).restoreNewest(
                        from: CheckpointStore(directory: run), communicator: communicator
                    ) { _ in }
                    #expect(restored?.step == 1 && weights.values == [1, 2, 3])
                    let records = try bank.search(HashedNGrams(width: 8).key("text"), count: 100, in: BankFilter(.all)).map(\.record)
                    let notes = bank.notes
                    try communicator.barrier()
                    bank.close()
                    return (records.map { "\($0.id) \($0.value) \($0.version)" }.sorted(), notes, bank.contentDigest)
                }
                #expect(
                    found[0].0 == (0..<39).map { "r\($0) \(BankValue.text("text \($0)")) 1" }.sorted()
                        && found.allSatisfy { $0.0 == found[0].0 })
                #expect(found[0].2 == saved[0] && found[0].1.contains { $0.contains("had been deleted and stay so") }, "\(found[0].1)")
            }
            // Between two sessions a person edits the bank.
            let bank = try openBank(path)
            #expect(
                bank.receipts.contains { $0.action == .abandoned && $0.commit == 2 }
                    && bank.receipts.contains { $0.action == .finished && $0.commit == 3 })
            _ = try bank.put([record("r1", "corrected by hand")], edit())
            _ = try RunStateRegistry([Weights(), BankState("facts", bank, run: run)]).restoreNewest(
                from: CheckpointStore(directory: run), communicator: SingleProcess()
            ) { _ in }
            #expect(
                text(bank, "r1") == "corrected by hand" && text(bank, "r2") == "text 2"
                    && bank.notes.contains { $0.contains("1 edit since the checkpoint") })
            // The next checkpoint has the edit, and the segments that no checkpoint names may go.
            try Self.save([Weights(), BankState("facts", bank, run: run)], run, step: 2, SingleProcess())
            let (store, checkpoints) = (SegmentStore(run: run), CheckpointStore(directory: run))
            let named = try checkpoints.steps().reduce(into: Set<SegmentReference>()) {
                $0.formUnion(try CheckpointReader(directory: checkpoints.directory(step: $1)).segments(["banks/facts/segments"]))
            }
            #expect(try store.sweep(keeping: named).isEmpty)
            bank.close()
            for name in ["bank.json", "segments"] { try FileManager.default.removeItem(atPath: "\(path)/\(name)") }
            try MemoryBank.create("\(run)/anew", Self.rules)
            try FileManager.default.moveItem(atPath: "\(run)/anew/bank.json", toPath: "\(path)/bank.json")
            let whole = try openBank(path)
            _ = try RunStateRegistry([Weights(), BankState("facts", whole, run: run)]).restoreNewest(
                from: checkpoints, communicator: SingleProcess()
            ) { _ in }
            #expect(text(whole, "r1") == "corrected by hand" && text(whole, "r39") == nil)
            #expect(try whole.recordCount() == 39, "a checkpoint alone brings the bank back")
        }
    }
}
