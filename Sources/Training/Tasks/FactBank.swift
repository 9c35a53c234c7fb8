// The facts of a run whose model looks them up: a bank in the run's directory.

import Collectives
import Corpora
import Diagnostics
import MemoryBanks
import Storage
import Tensors

/// Banks of facts.
public enum FactBank {
    /// The name of a run's bank of facts.
    static let name = "facts"

    /// Where a run's bank of facts is.
    public static func directory(ofRun directory: String) -> String { "\(directory)/banks/\(name)" }

    /// The rules of a bank of facts whose keys an encoder makes.
    static func rules(keyWidth: Int, encoder: String) -> BankConfiguration {
        BankConfiguration(keyWidth: keyWidth, value: .text, metric: .dot, encoder: encoder)
    }

    /// The run directory that a bank belongs to, by its path: the one above `banks`.
    public static func run(ofBank directory: String) -> String {
        let parts = directory.split(separator: "/", omittingEmptySubsequences: true)
        guard parts.count >= 2, parts[parts.count - 2] == "banks" else { return "\(directory)/../.." }
        let path = parts.dropLast(2).joined(separator: "/")
        return directory.hasPrefix("/") ? "/\(path)" : path.isEmpty ? "." : path
    }

    /// The encoder of a bank whose keys its run's model makes.
    /// - Throws: `UserError`: (.missingInput) where the bank lies in no run's directory, (.configuration) where the run looks nothing up.
    public static func encoder(ofBank directory: String) throws -> any TextEncoder {
        let path = run(ofBank: directory)
        return try task(of: LoadedRun(directory: path)).makeEncoder()
    }

    private static func task(of run: LoadedRun) throws -> BiographyTask {
        guard let task = run.task as? BiographyTask, task.encoderName != nil else {
            throw UserError(
                .configuration, "its model, \(run.configuration.task.modelKind), looks no facts up", at: run.directory,
                advice: "name a run whose model.kind is lookup")
        }
        return task
    }

    /// Puts the facts of a run's task into its bank, which is made where there is none; those that are there already stay as they are. Collective.
    ///
    /// - Parameters:
    ///   - people: whose facts; `nil` for all that the run was trained on. There are people behind them too.
    ///   - identity: of the session that will hold the bank's lock.
    ///   - progress: receives the number of people done and of all.
    /// - Returns: the receipts of the commits, each of at most 8,192 people.
    /// - Throws: `UserError`: (.configuration) for a run without facts, and a bank whose keys another model has made; else as ``MemoryBank/append(_:generation:_:)``.
    public static func build(
        _ directory: String, of run: LoadedRun, people: Range<Int>? = nil, identity: SessionIdentity, _ edit: BankEdit,
        communicator: any Communicator, progress: (_ done: Int, _ all: Int) -> Void = { _, _ in }
    ) throws -> [BankReceipt] {
        let task = try communicator.onEveryRank { try Self.task(of: run) }
        let encoder = try communicator.onEveryRank { try task.makeEncoder() }
        let bank = try MemoryBank.openedOrMade(
            directory, rules(keyWidth: encoder.generation.width, encoder: task.encoderName ?? TextEncoders.run), generation: encoder.generation, identity,
            communicator: communicator)
        defer { bank.close() }
        bank.runEncoder = { encoder }
        let people = people ?? 0..<task.biographies.people
        return try fill(bank, of: task.biographies, people, edit) { progress($0, people.count) }
    }

    /// Appends the facts of some people, whose keys the bank's encoder makes. Collective.
    @discardableResult
    static func fill(
        _ bank: MemoryBank, of biographies: Biographies, _ people: Range<Int>, _ edit: BankEdit, progress: (_ done: Int) -> Void = { _ in }
    ) throws -> [BankReceipt] {
        var receipts: [BankReceipt] = []
        for start in stride(from: people.lowerBound, to: people.upperBound, by: 8192) {
            let part = start..<min(start + 8192, people.upperBound)
            receipts.append(try bank.append(part.flatMap(biographies.records), edit))
            progress(part.upperBound - people.lowerBound)
        }
        return receipts
    }
}

extension Biographies {
    /// The facts of a person as records without keys: `Name Name Name | birth city` is the id and what the key is made from, the value is text, and the
    /// person's name is the source.
    public func records(of person: Int) -> [BankRecord] {
        let name = nameText(of: person)
        return BiographyAttribute.allCases.map { attribute in
            let text = keyText(attribute, of: person)
            var record = BankRecord(id: text, namespace: Self.namespace, value: .text(Self.text(value(of: attribute, person))))
            (record.keyText, record.source) = (text, name)
            return record
        }
    }
}
