// What users tell a run: kept in a bank, each user's in a namespace of its own.

import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage

/// What one user has said, across sessions.
///
/// It is the user's namespace of a bank: a record for each thing said, with the id `turn N`, found by the likeness of its words. No other namespace is
/// ever read. The bank is locked while something is written, and at no other time: several users' sessions share it.
public final class UserProfile {
    /// The rules of a bank that is made for profiles.
    public static let rules = BankConfiguration(keyWidth: 512, value: .text, metric: .cosine, encoder: "hashed-ngrams")

    /// The user: the namespace.
    public let user: String
    private let bank: MemoryBank
    private let identity: SessionIdentity

    /// Opens the profile of a user, which may be empty; the bank is made where there is none.
    /// - Throws: `UserError` as `MemoryBank.init`; (.configuration) for a bank that cannot be searched by texts or holds no texts.
    public init(bank directory: String, user: String, _ identity: SessionIdentity) throws {
        (self.user, self.identity) = (user, identity)
        if !MemoryBank.exists(directory) {
            try Self.unlocked { try MemoryBank.openedOrMade(directory, Self.rules, generation: nil, identity, communicator: SingleProcess()).close() }
        }
        bank = try MemoryBank(directory)
        guard bank.configuration.value == .text, try bank.encoder() != nil else {
            throw UserError(
                .configuration, "is no bank of texts that are found by their words", at: directory,
                advice: "make one with mneme memory create --encoder hashed-ngrams --key-width 512")
        }
    }

    /// How many things the user has said that are kept.
    public func count() throws -> Int {
        _ = try bank.refresh()
        return try bank.namespaces().first { $0.name == user }?.records ?? 0
    }

    /// Keeps what the user has said; it is on the disk when the call returns.
    /// - Parameters:
    ///   - source: where it was said, such as the run.
    /// - Returns: the number of the turn: more than any before, those that were forgotten included.
    /// - Throws: as `MemoryBank.put`; (.unavailable) where another session edits the bank for longer than some seconds.
    @discardableResult
    public func remember(_ text: String, source: String) throws -> Int {
        let turn = try Self.unlocked {
            let editor = try MemoryBank(bank.directory, .editing(identity))
            defer { editor.close() }
            var turn = 1 + (editor.localRecords(BankFilter(.one(user))).compactMap { Self.turn($0) }.max() ?? 0)
            while editor.has("turn \(turn)", namespace: user, orHadDeleted: true) { turn += 1 }
            var record = BankRecord(id: "turn \(turn)", namespace: user, value: .text(text))
            (record.keyText, record.source) = (text, source)
            _ = try editor.put([record], BankEdit(time: Int(Date().timeIntervalSince1970), author: identity.description))
            return turn
        }
        _ = try bank.refresh()
        return turn
    }

    /// What the user has said that is most like a text, in the order in which it was said.
    /// - Parameter count: at most so many.
    public func recalled(by text: String, count: Int) throws -> [String] {
        guard try self.count() > 0, let query = try bank.queries([text])?.first else { return [] }
        return try bank.search(query, count: count, in: BankFilter(.one(user))).map(\.record).sorted { $0.commit < $1.commit }.compactMap {
            if case .text(let text) = $0.value { text } else { nil }
        }
    }

    private static func turn(_ record: BankRecord) -> Int? { record.id.hasPrefix("turn ") ? Int(record.id.dropFirst(5)) : nil }

    /// Does what takes a bank's lock, and waits while another session has it.
    private static func unlocked<Result>(_ body: () throws -> Result) throws -> Result {
        for _ in 0..<100 {
            do { return try body() } catch let error as UserError where error.exitCode == .unavailable { usleep(100_000) }
        }
        return try body()
    }
}
