// One choice of matrix backends for all ranks and all sessions of a run, since another backend means other last bits.

import Collectives
import Diagnostics
import Foundation
import Tensors

/// The backends of matrix products that a run has measured, as `matrix-products.json` in its directory holds them.
struct BackendRecord: Codable, Equatable {
    /// The first step that follows the choices; those before it follow the rule.
    var firstStep: Int
    /// What computed, such as `OpenBLAS SkylakeX, oneDNN 2.6.3 avx512_core_bf16`.
    var libraries: String
    /// A backend for each class of products.
    var choices: MatrixChoices
}

/// Brings every rank to the same choices. The first step of a run follows the rule and shows which products occur; rank 0 then measures them, and all
/// ranks follow its choices from the next step on, in later sessions too. All members are collective.
///
/// Two runs of one configuration may measure differently where backends are about equally fast, and differ in their last bits. A reproducible run
/// therefore measures nothing.
package final class BackendAgreement {
    private let communicator: any Communicator
    private let path: String?
    private var record: BackendRecord?
    private var isObserving = false

    /// - Parameters:
    ///   - directory: the run's; `nil` keeps nothing.
    ///   - step: the steps done.
    ///   - measures: whether to measure when the run has no choices yet.
    ///   - report: takes lines for the user, on rank 0.
    /// - Throws: `UserError`, the same on every rank.
    package init(_ communicator: any Communicator, directory: String?, step: Int, measures: Bool, report: (String) -> Void) throws {
        self.communicator = communicator
        path = directory.map { "\($0)/matrix-products.json" }
        MatrixProducts.reset()
        for (rank, libraries) in try communicator.allGather(Array(Self.libraries.utf8)).enumerated() where communicator.rank == 0 {
            let there = String(decoding: libraries, as: UTF8.self)
            if there != Self.libraries {
                report("rank \(rank) multiplies matrices with \(there), rank 0 with \(Self.libraries): the last bits depend on who computes what")
            }
        }
        let stored = try communicator.onEveryRank { communicator.rank == 0 ? try load() : [] }
        let bytes = try communicator.broadcasted(stored, root: 0)
        if !bytes.isEmpty {
            let record = try communicator.onEveryRank { try decode(bytes) }
            self.record = record
            if record.libraries != Self.libraries, communicator.rank == 0 {
                report("the run multiplied matrices with \(record.libraries), this machine has \(Self.libraries): the last bits may differ")
            }
            if step + 1 >= record.firstStep { try follow(record, report) }
        } else if measures, MatrixProducts.forced == nil {
            isObserving = true
            MatrixProducts.observe()
        }
    }

    /// To be called after each step, with its number.
    package func finishedStep(_ step: Int, report: (String) -> Void) throws {
        if isObserving {
            isObserving = false
            var bytes: [UInt8] = []
            if communicator.rank == 0 {
                let record = BackendRecord(firstStep: step + 1, libraries: Self.libraries, choices: MatrixProducts.measureObserved())
                bytes = try JSONEncoder.sorted.encode(record) + [UInt8(ascii: "\n")]
            }
            try communicator.onEveryRank { if communicator.rank == 0 { try store(bytes) } }
            bytes = try communicator.broadcasted(bytes, root: 0)
            let record = try communicator.onEveryRank { try decode(bytes) }
            self.record = record
            try follow(record, report)
        } else if let record, record.firstStep == step + 1 {
            try follow(record, report)
        }
    }

    private func follow(_ record: BackendRecord, _ report: (String) -> Void) throws {
        let lines = try communicator.onEveryRank { try MatrixProducts.adopt(record.choices) }
        if communicator.rank == 0 { lines.forEach(report) }
    }

    private func load() throws -> [UInt8] {
        guard let path, FileManager.default.fileExists(atPath: path) else { return [] }
        guard let data = FileManager.default.contents(atPath: path), !data.isEmpty else {
            throw UserError(.inputOutput, "cannot be read", at: path, advice: "remove it: the choices are made again")
        }
        return Array(data)
    }

    private func decode(_ bytes: [UInt8]) throws -> BackendRecord {
        do { return try JSONDecoder().decode(BackendRecord.self, from: Data(bytes)) } catch {
            throw UserError(
                .badData, "is no record of matrix backends", at: path, advice: "remove it: the choices are made again, and the last bits may differ")
        }
    }

    private func store(_ bytes: [UInt8]) throws {
        guard let path else { return }
        do { try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw UserError(.inputOutput, "cannot be written: \(systemReason(of: error))", at: path)
        }
    }

    /// What this process multiplies matrices with.
    static var libraries: String {
        let forced = MatrixProducts.forced.map { ", \($0.rawValue) forced" } ?? ""
        guard let version = OneDNN.version, let set = OneDNN.instructionSet else { return "OpenBLAS \(BLAS.coreName)" + forced }
        return "OpenBLAS \(BLAS.coreName), oneDNN \(version) \(set)" + forced
    }
}

extension JSONEncoder {
    fileprivate static var sorted: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return encoder
    }
}
