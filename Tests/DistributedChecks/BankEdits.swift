// Edits of a bank without end, for whoever kills them: `mpirun -n 2 distributed-checks bank-edits BANK SEED LOG`.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import Tensors

/// Edits a bank at random until the process is killed. Before each edit rank 0 adds a line of JSON to a log, which says what it will do to which
/// records, and `done` on a line of its own once the edit has returned.
func editBankUntilKilled(_ communicator: any Communicator) throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 5, let seed = UInt64(arguments[3]) else {
        throw UserError(.usage, "bank-edits takes a bank, a seed and a log", advice: "name all three")
    }
    let log = open(arguments[4], O_WRONLY | O_CREAT | O_APPEND, 0o644)
    func say(_ text: String) { if communicator.rank == 0 { _ = text.withCString { write(log, $0, strlen($0)) } } }
    if !MemoryBank.exists(arguments[2]) {
        let rules = BankConfiguration(keyWidth: 16, metric: .cosine, encoder: "hashed-ngrams", blockRows: 16, shards: 4)
        try MemoryBank.create(arguments[2], rules, communicator: communicator)
    }
    let bank = try MemoryBank(arguments[2], .editing(SessionIdentity(environment: [:])), communicator: communicator)
    var random = RandomStream(key: seed)
    for number in 0... {
        let own = bank.localRecords(BankFilter(.all)).map(\.id).joined(separator: "\n")
        let ids = try communicator.allGather(Array(own.utf8)).flatMap { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) }.sorted()
        let edit = BankEdit(step: number, time: 0, author: "bank-edits", reason: "")
        func some(_ count: Int) -> [String] { Array(ids.shuffled(using: &random).prefix(count)) }
        func announce(_ kind: String, written: [String: String] = [:], gone: [String] = []) throws {
            let line: [String: Any] = ["edit": kind, "written": written, "gone": gone]
            say(String(decoding: try JSONSerialization.data(withJSONObject: line), as: UTF8.self) + "\n")
        }
        func texts(_ ids: [String]) -> [String: String] { Dictionary(uniqueKeysWithValues: Set(ids).map { ($0, "\($0) of \(seed), edit \(number).") }) }
        let anyIDs = (0..<Int.random(in: 1...25, using: &random)).map { _ in "r\(Int.random(in: 0..<300, using: &random))" }
        switch ids.count < 20 ? 0 : Int.random(in: 0..<10, using: &random) {
        case 0, 1, 2:
            let written = texts(anyIDs)
            try announce("put", written: written)
            let records = written.sorted { $0.key < $1.key }.map { id, text in
                var record = BankRecord(id: id, namespace: "n", value: .text(text))
                record.keyText = text
                return record
            }
            _ = try bank.put(records, resurrecting: true, edit)
        case 3, 4:
            let written = some(5)
            let text = "updated by \(seed), edit \(number)."
            try announce("update", written: Dictionary(uniqueKeysWithValues: written.map { ($0, text) }))
            var patch = BankPatch()
            (patch.value, patch.keyText) = (.text(text), text)
            _ = try bank.update(BankFilter(.one("n"), ids: written), patch, edit)
        case 5, 6:
            let gone = some(4)
            try announce("delete", gone: gone)
            _ = try bank.delete(BankFilter(.one("n"), ids: gone), edit)
        case 7:
            let written = texts(anyIDs)
            try announce("import", written: written)
            let lines = written.sorted { $0.key < $1.key }.map { Array(#"{"id":"\#($0.key)","keyText":"\#($0.value)","text":"\#($0.value)"}"#.utf8)[...] }
            _ = try bank.importLines(lines, named: "lines", namespace: "n", resurrecting: true, edit)
        case 8:
            try announce("compact")
            _ = try bank.compact(edit)
        default:
            try announce("index")
            try bank.makeIndex(lists: 5)
        }
        say("done\n")
    }
}
