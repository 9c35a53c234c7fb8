// Sessions that are killed, or whose disk fails, at every step of a commit, a deletion and a compaction.

import Checkpoints
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing

@Suite struct BankCrashTests {
    private static let points: [Failpoint] = [
        .segmentWrite, .segmentSync, .segmentRename, .logAppend, .bankCommit, .bankSweep, .fileWrite, .fileSync, .fileRename,
        .directorySync, .removalUnlink
    ]
    /// What happens, and how often a place is passed before. MNEME_CAMPAIGN=1 kills some two hundred times.
    private static let orders: [(after: Int, action: String)] =
        ProcessInfo.processInfo.environment["MNEME_CAMPAIGN"] == nil
        ? [(0, "kill"), (1, "kill"), (0, "error")] : (0..<10).flatMap { [($0, "kill"), ($0, "error")] }

    private func session(_ arguments: [String], _ failpoint: String) throws -> FinishedRun {
        try MPIRun.runAlone(executable: "mneme", arguments: ["memory"] + arguments, extraEnvironment: ["MNEME_FAILPOINT": failpoint])
    }

    private static let deleted = "the-deleted-value"

    @Test(
        "killed or failing anywhere: the bank is as it was or as it should be, a deletion is never forgotten, and the next session works",
        arguments: points)
    func interrupted(_ point: Failpoint) throws {
        try withScratchDirectory { directory in
            let whole = "\(directory)/whole"
            let bank = try makeBank(whole, BankConfiguration(keyWidth: 8, encoder: "hashed-ngrams", blockRows: 16, shards: 4))
            _ = try bank.put((0..<60).map { record("r\($0)", "text \($0)") } + [record("secret", Self.deleted)], edit())
            _ = try bank.put([record("r5", "text five")], edit())
            bank.close()
            let commands = [
                ["put", "BANK", "r1", "--namespace", "films", "--text", "put", "--key-text", "k"],
                ["delete", "BANK", "secret", "r2", "r3", "--namespace", "films"], ["compact", "BANK"], ["revert", "BANK", "2"]
            ]
            var interruptions = 0
            for (number, command) in commands.enumerated() {
                for (after, action) in Self.orders {
                    let path = "\(directory)/\(number)-\(after)-\(action)"
                    try FileManager.default.copyItem(atPath: whole, toPath: path)
                    let before = try records(path)
                    let arguments = command.map { $0 == "BANK" ? path : $0 }
                    let first = try session(arguments, "\(point.rawValue):\(after):\(action)")
                    let isInterrupted = first.status != 0
                    if isInterrupted { interruptions += 1 }
                    #expect(
                        first.status == (isInterrupted ? (action == "kill" ? 137 : 74) : 0), "\(point) \(command) \(first.standardError)")
                    // As a reader finds it, without a word from an editor.
                    let (between, expected) = (try records(path), self.expected(after: number, before))
                    #expect(between == before || between == expected, "\(point) after \(after), \(action) of \(command[0])")
                    if !isInterrupted { #expect(between == expected) }
                    let ledger = (try? String(contentsOfFile: "\(path)/deleted.jsonl", encoding: .utf8)) ?? ""
                    if number == 1, ledger.hasSuffix("\n") { #expect(between == expected, "a deletion that is in the ledger holds") }

                    let next = try openBank(path)
                    _ = try next.put([record("last", "last")], edit())
                    #expect(try records(path)["last"] == "last" && records(path).filter { $0.key != "last" } == between)
                    _ = try next.findings(.all, time: 0)
                    _ = try next.compact(edit())
                    next.close()
                    if between["secret"] == nil { #expect(try filesHolding(Self.deleted, in: path) == []) }
                    let names = try Directory.names(in: path)
                    #expect(Set(names).isSubset(of: ["audit.jsonl", "bank.json", "deleted.jsonl", "segments"]), "\(names)")
                    let manifest = try JSONSerialization.jsonObject(with: Data(DurableFile.read("\(path)/bank.json"))) as? [String: Any]
                    let chains = (manifest?["chains"] as? [[String: Any]] ?? []).flatMap { $0["links"] as? [[String: Any]] ?? [] }
                        .compactMap { $0["segment"] as? String }
                    #expect(try Directory.names(in: "\(path)/segments") == chains.sorted(), "nothing is left that no manifest lists")
                }
            }
            #expect(interruptions >= (point == .removalUnlink ? 2 : 4), "\(point): \(interruptions)")
        }
    }

    private func records(_ path: String) throws -> [String: String] {
        Dictionary(
            uniqueKeysWithValues: try MemoryBank(path).localRecords(BankFilter(.all)).map { record in
                guard case .text(let text) = record.value else { return (record.id, "") }
                return (record.id, text)
            })
    }

    /// What a command makes of the records.
    private func expected(after command: Int, _ before: [String: String]) -> [String: String] {
        var records = before
        switch command {
        case 0: records["r1"] = "put"
        case 1: for id in ["secret", "r2", "r3"] { records[id] = nil }
        case 3: records["r5"] = "text 5"
        default: break
        }
        return records
    }
}
