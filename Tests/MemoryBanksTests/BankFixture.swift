// Banks that tests make, and how they look at their files.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import TestSupport

/// An edit of a test, always at the same time.
func edit(step: Int = 0, _ reason: String = "") -> BankEdit { BankEdit(step: step, time: 1_700_000_000, author: "a test", reason: reason) }

/// A bank of texts with keys of the program's encoder, opened for editing.
func makeBank(
    _ directory: String,
    _ configuration: BankConfiguration = BankConfiguration(keyWidth: 32, metric: .cosine, encoder: "hashed-ngrams", blockRows: 16),
    generation: BankGeneration? = nil, communicator: any Communicator = SingleProcess()
) throws -> MemoryBank {
    try MemoryBank.create(directory, configuration, generation: generation, communicator: communicator)
    return try openBank(directory, communicator)
}

func openBank(_ directory: String, _ communicator: any Communicator = SingleProcess()) throws -> MemoryBank {
    try MemoryBank(directory, .editing(SessionIdentity(environment: [:])), communicator: communicator)
}

/// A record of text.
func record(_ id: String, _ text: String, in namespace: String = "films", key: String? = nil, source: String = "", parents: [String] = [])
    -> BankRecord
{
    var record = BankRecord(id: id, namespace: namespace, value: .text(text))
    record.keyText = key ?? text
    record.source = source
    record.parents = parents
    return record
}

/// The names and bytes of all files in and below a directory; the lock is none.
func files(_ directory: String) throws -> [String: [UInt8]] {
    let names = (FileManager.default.enumerator(atPath: directory)?.allObjects as? [String] ?? []).filter { !$0.contains("bank.lock") }
    var files: [String: [UInt8]] = [:]
    for name in names where Directory.exists("\(directory)/\(name)") == .file { files[name] = try DurableFile.read("\(directory)/\(name)") }
    return files
}

/// The files that hold a text, in UTF-8.
func filesHolding(_ text: String, in directory: String) throws -> [String] {
    let wanted = Data(text.utf8)
    return try files(directory).filter { Data($0.value).range(of: wanted) != nil }.map(\.key).sorted()
}

/// The text of a record; `nil` where there is none.
func text(_ bank: MemoryBank, _ id: String, in namespace: String = "films") -> String? {
    guard case .text(let text)? = bank.localRecord(id, namespace: namespace)?.value else { return nil }
    return text
}

/// Random numbers that repeat.
struct Randomness: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// Pythons that tests run.
enum Python {
    /// One with h5py and NumPy.
    static let withH5py: String? = {
        let environment = ProcessInfo.processInfo.environment
        let candidates =
            [environment["MNEME_PYTHON"]].compactMap { $0 } + (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/python3" }
        return candidates.first { path in
            FileManager.default.isExecutableFile(atPath: path)
                && (try? MPIRun.runAlone(executable: path, arguments: ["-c", "import h5py, numpy"]))?.status == 0
        }
    }()

    /// Runs a script.
    static func run(_ script: String, _ arguments: [String]) throws -> FinishedRun {
        try MPIRun.runAlone(executable: withH5py ?? "python3", arguments: ["-c", script] + arguments)
    }
}
