// Options and lines that the commands about banks share.

import ArgumentParser
import Corpora
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import Training

/// Which part of a bank a command may see.
struct BankScopeOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The namespace of the bank.", valueName: "name"))
    var namespace: String?

    @Flag(help: "All namespaces of the bank.")
    var all = false

    /// - Throws: `UserError` (.usage) where none or both are given.
    func scope() throws -> NamespaceScope { try NamespaceScope(namespace: namespace, all: all) }

    /// The namespace that a new record belongs to.
    func required() throws -> String {
        guard case .one(let name) = try NamespaceScope(namespace: namespace, all: all) else {
            throw UserError(.usage, "a record belongs to one namespace", advice: "give --namespace NAME")
        }
        return name
    }

    var isGiven: Bool { namespace != nil || all }
}

/// Which records of a bank a command means.
struct BankFilterOptions: ParsableArguments {
    @OptionGroup var scope: BankScopeOptions

    @Option(help: ArgumentHelp("Records taken from this source.", valueName: "source"))
    var source: String?

    @Option(help: ArgumentHelp("Records of this origin: data or model.", valueName: "origin"))
    var origin: String?

    @Option(help: ArgumentHelp("Records written before this step.", valueName: "step"))
    var writtenBefore: Int?

    @Option(help: ArgumentHelp("Records not used at this step or later.", valueName: "step"))
    var unusedSince: Int?

    @Option(help: ArgumentHelp("Records true at this time: YYYY-MM-DD, or seconds.", valueName: "time"))
    var validAt: String?

    func filter(ids: [String]) throws -> BankFilter {
        var filter = BankFilter(try scope.scope(), ids: ids.isEmpty ? nil : ids)
        filter.source = source
        filter.origin = try origin.map(BankText.origin)
        (filter.writtenBefore, filter.unusedSince) = (writtenBefore, unusedSince)
        filter.validAt = try validAt.map { try BankText.time($0, "--valid-at") }
        return filter
    }

    /// Whether any is given.
    var isGiven: Bool { scope.isGiven || source != nil || origin != nil || writtenBefore != nil || unusedSince != nil || validAt != nil }

    /// Whether any but the namespace is given.
    var isNarrowed: Bool { source != nil || origin != nil || writtenBefore != nil || unusedSince != nil || validAt != nil }
}

/// Who edits a bank, and why.
struct BankEditOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Why, for the bank's audit log.", valueName: "text"))
    var reason: String?

    @Option(help: ArgumentHelp("The training step of the edit; 0 unless given.", valueName: "step"))
    var step: Int?

    func edit(_ identity: SessionIdentity) -> BankEdit {
        BankEdit(step: step ?? 0, time: BankText.now, author: identity.description, reason: reason ?? "")
    }

    /// Whether any is given.
    var isGiven: Bool { reason != nil || step != nil }
}

/// What a record of a bank holds, as options give it.
struct BankContentOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The value: a text.", valueName: "text"))
    var text: String?

    @Option(help: ArgumentHelp("The value: token ids divided by commas.", valueName: "ids"))
    var tokens: String?

    @Option(help: ArgumentHelp("The value: a file with a vector as a JSON array.", valueName: "file"))
    var vectorFile: String?

    @Option(help: ArgumentHelp("The text that the key is made from.", valueName: "text"))
    var keyText: String?

    @Option(help: ArgumentHelp("The key: a file with a vector as a JSON array.", valueName: "file"))
    var keyFile: String?

    @Option(help: ArgumentHelp("Where it was taken from.", valueName: "source"))
    var takenFrom: String?

    @Option(help: ArgumentHelp("A record that it was derived from; may come again.", valueName: "id"))
    var parent: [String] = []

    @Option(help: ArgumentHelp("Since when it is true: YYYY-MM-DD, or seconds.", valueName: "time"))
    var validFrom: String?

    @Option(help: ArgumentHelp("Until when it was true.", valueName: "time"))
    var validTo: String?

    func value() throws -> BankValue? {
        switch (text, tokens, vectorFile) {
        case (nil, nil, nil): return nil
        case (let text?, nil, nil): return .text(text)
        case (nil, let tokens?, nil):
            return .tokens(
                try tokens.split(separator: ",").map { field in
                    guard let id = Int32(field.trimmingCharacters(in: .whitespaces)) else {
                        throw UserError(.usage, "'\(field)' is no token id", at: "--tokens", advice: "give whole numbers divided by commas")
                    }
                    return id
                })
        case (nil, nil, let file?): return .vector(try BankText.vector(file))
        default: throw UserError(.usage, "a record has one value", advice: "give one of --text, --tokens and --vector-file")
        }
    }

    func patch() throws -> BankPatch {
        var patch = BankPatch()
        patch.value = try value()
        patch.key = try keyFile.map(BankText.vector)
        (patch.keyText, patch.source, patch.parents) = (keyText, takenFrom, parent.isEmpty ? nil : parent)
        patch.validFrom = try validFrom.map { try BankText.time($0, "--valid-from") }
        patch.validTo = try validTo.map { try BankText.time($0, "--valid-to") }
        return patch
    }

    /// Whether any is given.
    var isGiven: Bool {
        text != nil || tokens != nil || vectorFile != nil || keyText != nil || keyFile != nil || takenFrom != nil || !parent.isEmpty
            || validFrom != nil || validTo != nil
    }
}

/// Which encoder made keys.
struct BankGenerationOptions: ParsableArguments {
    @Option(help: ArgumentHelp("What made the keys: a digest or name of the model.", valueName: "model"))
    var model: String?

    @Option(help: ArgumentHelp("The model's layer whose output they are.", valueName: "layer"))
    var layer: Int?

    @Option(help: ArgumentHelp("How keys are scaled: none or l2.", valueName: "rule"))
    var normalization: String?

    /// The generation that is named; `nil` where none is.
    func generation(width: Int) throws -> BankGeneration? {
        guard let model else {
            guard layer == nil, normalization == nil else {
                throw UserError(.usage, "--layer and --normalization are a model's", advice: "name it with --model")
            }
            return nil
        }
        let rule = normalization ?? "none"
        guard ["none", "l2"].contains(rule) else {
            throw UserError(.usage, "'\(rule)' is no normalization", at: "--normalization", advice: "give none or l2")
        }
        return BankGeneration(model: model, layer: layer ?? -1, normalization: rule, width: width)
    }
}

/// Values of options, and records and receipts as lines.
enum BankText {
    static var now: Int { Int(Date().timeIntervalSince1970) }

    /// People by number, `first-last`, both included.
    static func people(_ text: String) throws -> Range<Int> {
        let ends = text.split(separator: "-").map { Int($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last, last < Biographies.mostPeople else {
            throw UserError(
                .usage, "'\(text)' is no range of the \(Biographies.mostPeople) people", at: "--people",
                advice: "write the first and the last, such as 0-99")
        }
        return first..<(last + 1)
    }

    static func origin(_ name: String) throws -> BankOrigin {
        guard let origin = BankOrigin(name: name), origin != .recall else {
            throw UserError(
                .usage, name == "recall" ? "what was recalled is not stored again" : "'\(name)' is no origin", at: "--origin",
                advice: "give data or model")
        }
        return origin
    }

    /// Seconds since 1970 of `YYYY-MM-DD`, an ISO 8601 time or a number.
    static func time(_ text: String, _ option: String) throws -> Int {
        if let seconds = Int(text) { return seconds }
        let whole = text.count == 10 ? text + "T00:00:00Z" : text
        guard let date = try? Date(whole, strategy: .iso8601) else {
            throw UserError(
                .usage, "'\(text)' is no time", at: option, advice: "write 2026-11-28, 2026-11-28T20:15:00Z, or seconds since 1970")
        }
        return Int(date.timeIntervalSince1970)
    }

    /// A vector in a file: a JSON array of numbers.
    static func vector(_ path: String) throws -> [Float] {
        let bytes = try TextInput.documents([path]).joined()
        guard let vector = try? JSONDecoder().decode([Float].self, from: Data(bytes.utf8)) else {
            throw UserError(.badData, "is no vector", at: path, advice: "write a JSON array of numbers")
        }
        return vector
    }

    /// `namespace/id version 2: value`.
    static func line(_ record: BankRecord) -> String {
        var text = "\(record.namespace)/\(record.id) version \(record.version): "
        if !record.keyText.isEmpty { text += "\(record.keyText) -> " }
        switch record.value {
        case .text(let value): text += value
        case .tokens(let tokens): text += tokens.map(String.init).joined(separator: ",")
        case .vector(let vector): text += "[\(vector.prefix(4).map { "\($0)" }.joined(separator: ", "))\(vector.count > 4 ? ", ..." : "")]"
        }
        return text.replacing("\n", with: " ")
    }

    static func print(_ records: [BankRecord], json: Bool, withKey: Bool) throws {
        if json { return try JSONOutput.print(records.map { BankRecordLine($0, withKey: withKey) }) }
        for record in records { try StandardOutput.print(line(record)) }
    }

    /// What an edit did, on one line.
    static func line(_ receipt: BankReceipt) -> String {
        var parts: [String] = []
        func add(_ count: Int, _ what: String) { if count > 0 { parts.append("\(count) \(what)") } }
        add(receipt.created, "created")
        add(receipt.changed, "changed")
        add(receipt.unchanged, "unchanged")
        add(receipt.deleted, "deleted")
        add(receipt.evicted, "evicted")
        add(receipt.waiting, "waiting")
        add(receipt.refusedDeleted, "refused as deleted")
        add(receipt.refusedRecall, "refused as recalled")
        let reason = receipt.reason.isEmpty ? "" : "; \(receipt.reason)"
        let what = "\(receipt.action.rawValue) (\(receipt.filter)): \(parts.isEmpty ? "nothing" : parts.joined(separator: ", "))"
        if receipt.changesNothing { return what }
        return "commit \(receipt.commit) \(what), digest \(receipt.digest)\(reason)"
    }

    static func print(_ receipt: BankReceipt, json: Bool) throws {
        if json { try JSONOutput.print(receipt) } else { try StandardOutput.print(line(receipt)) }
    }
}

extension MemoryBank {
    /// Opens a bank to be read; what was noticed is said on standard error.
    static func read(_ directory: String) throws -> MemoryBank {
        let bank = try MemoryBank(directory)
        bank.runEncoder = { try FactBank.encoder(ofBank: directory) }
        bank.notes.forEach { CommandLineOutput.note($0) }
        return bank
    }

    /// Opens a bank, edits it and gives its lock back.
    static func edit<Result>(_ directory: String, _ options: BankEditOptions, _ body: (MemoryBank, BankEdit) throws -> Result) throws
        -> Result
    {
        try change(directory) { try body($0, options.edit($1)) }
    }

    /// The same, for what is no edit.
    static func change<Result>(_ directory: String, _ body: (MemoryBank, SessionIdentity) throws -> Result) throws -> Result {
        let identity = try editor()
        let bank = try MemoryBank(directory, .editing(identity))
        bank.runEncoder = { try FactBank.encoder(ofBank: directory) }
        defer { bank.close() }
        bank.notes.forEach { CommandLineOutput.note($0) }
        return try body(bank, identity)
    }

    /// The session of a command that edits a bank.
    static func editor() throws -> SessionIdentity {
        let environment = ProcessInfo.processInfo.environment
        try Failpoint.arm(environment["MNEME_FAILPOINT"] ?? "", rank: 0)
        return SessionIdentity(environment: environment)
    }

    /// Refuses options of banks for a run.
    static func requireNone(_ isGiven: Bool, _ directory: String) throws {
        guard isGiven else { return }
        throw UserError(
            .usage, "is no bank, and an option of banks is given", at: directory,
            advice: "name the directory of a bank: that of a run's facts is RUN/banks/facts")
    }

    /// Refuses options of a run's facts for banks.
    static func requireBank(_ isFactOption: Bool, _ directory: String, _ option: String) throws {
        guard isFactOption else { return }
        throw UserError(.usage, "means nothing to a bank", at: option, advice: "see mneme memory list --help")
    }
}
