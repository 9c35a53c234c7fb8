// The bank that a run keeps: committed with the weights, its keys, where it has any, those of the model as it is in each checkpoint.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage

/// What a task keeps in a bank of its run.
public struct KeptBank {
    /// The bank's name: it lies in `banks/NAME` of the run directory.
    public let name: String
    /// The rules of a new bank.
    public let rules: BankConfiguration
    /// What makes keys with the parameters as they are at the moment; `nil` in a bank without keys.
    public let encoder: (() throws -> any TextEncoder)?
    /// The file of the run directory that held its records in an earlier version; `nil` where there was none.
    public let formerFile: String?
    /// Fills a new bank, whose keys the encoder makes.
    public let fill: (MemoryBank, BankEdit) throws -> Void

    /// A bank by its name and rules, with what makes its keys and what fills it.
    public init(
        name: String, rules: BankConfiguration, encoder: (() throws -> any TextEncoder)? = nil, formerFile: String? = nil,
        fill: @escaping (MemoryBank, BankEdit) throws -> Void
    ) {
        (self.name, self.rules, self.encoder, self.formerFile, self.fill) = (name, rules, encoder, formerFile, fill)
    }
}

/// The state of a run's bank. At each checkpoint every record of a bank with keys gets the key that the model makes now, so that weights and keys of
/// one checkpoint go together; what people have deleted stays deleted.
///
/// The bank is opened when the first checkpoint is written or restored, and held, with its lock, until the session ends.
final class RunBank: RunState {
    /// Where the banks of a run are, in its directory.
    static let folder = "banks"

    let stateName: String
    private let kept: KeptBank
    private let directory: String
    private let run: String
    private let identity: SessionIdentity
    private let communicator: any Communicator
    private var opened: (bank: MemoryBank, state: BankState)?
    /// The step that a checkpoint would be of.
    var step = 0

    /// - Parameters:
    ///   - kept: what the task keeps.
    ///   - run: the run directory.
    init(_ kept: KeptBank, run: String, identity: SessionIdentity, communicator: any Communicator) {
        (self.kept, self.run, self.identity, self.communicator) = (kept, run, identity, communicator)
        stateName = "banks/\(kept.name)"
        directory = "\(run)/\(Self.folder)/\(kept.name)"
    }

    deinit { close() }

    /// Gives the bank's lock back.
    func close() {
        opened?.bank.close()
        opened = nil
    }

    /// Collective.
    private func open() throws -> (bank: MemoryBank, state: BankState) {
        if let opened { return opened }
        let generation = try communicator.onEveryRank { try kept.encoder?().generation }
        let bank = try MemoryBank.openedOrMade(directory, kept.rules, generation: generation, identity, communicator: communicator)
        let opened = (bank: bank, state: BankState(kept.name, bank, run: run))
        self.opened = opened
        return opened
    }

    /// Brings the keys up to the model's parameters. Collective.
    private func update(_ bank: MemoryBank) throws {
        let now = try communicator.allReduced(communicator.rank == 0 ? Int(Date().timeIntervalSince1970) : 0, .sum)
        var edit = BankEdit(step: step, time: now, author: identity.description, reason: "checkpoint of step \(step)")
        edit.isOfRun = true
        if let encoder = try communicator.onEveryRank({ try kept.encoder?() }) {
            bank.runEncoder = { encoder }
            if encoder.generation != bank.generation {
                _ = try bank.rekey(encoder.generation, edit) { try encoder.keys($0.map(\.keyText)) }
            }
        }
        if bank.commit == 0 || bank.receipts.allSatisfy({ $0.action == .rekey }) { try kept.fill(bank, edit) }
    }

    var stateItems: [StateItem] {
        [
            // A run that kept no bank before begins one at its next checkpoint.
            StateItem(segments: "\(stateName)/segments", ifAbsent: {}) { [self] in
                let opened = try open()
                try update(opened.bank)
                return try opened.state.save()
            } restore: { [self] list in
                let opened = try open()
                try opened.state.restore(list)
            }
        ]
    }
}
