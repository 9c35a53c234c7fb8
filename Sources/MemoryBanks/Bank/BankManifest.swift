// The one file that says what a bank consists of.

import Checkpoints
import Diagnostics
import Storage

/// What a bank is after a commit: its rules, and the segments that hold its records. A segment that it does not list is no part of the
/// bank.
struct BankManifest: Codable, Sendable, Equatable {
    static let fileName = "bank.json"

    /// What a commit replaced.
    struct Undo: Codable, Sendable, Equatable {
        let commit: Int
        let segments: [String]
    }

    var format = "mneme-bank"
    var formatVersion = 1
    var configuration: BankConfiguration
    /// The encoders that made keys, in the order in which they came; the last one made those that are there.
    var generations: [BankGeneration] = []
    /// The digest of the columns and blocks.
    var layout: String
    /// The last commit; 0 for a bank in which nothing was written.
    var commit = 0
    /// The digest of the manifest before it; empty for the first.
    var parent = ""
    /// The digest of all records.
    var content = ""
    /// Records, without those that wait for their admission.
    var records = 0
    /// By virtual shard.
    var chains: [ShardChain]
    /// The commits that can be reverted, ascending.
    var history: [Undo] = []
    /// What the commits up to this one replaced is gone.
    var purgedThrough = 0
    /// The index; `nil` where there is none.
    var index: BankIndexLink?

    /// A bank without records.
    init(_ configuration: BankConfiguration) {
        let layout = BankColumns(configuration).layout
        (self.configuration, self.layout) = (configuration, layout.digest)
        chains = Array(repeating: ShardChain(), count: layout.shards)
        content = RowTable(layout).digest
    }

    /// Every segment that it lists.
    var segments: [String] { chains.flatMap(\.segments) + history.flatMap(\.segments) + (index?.segments ?? []) }

    private static let member = Array(",\"manifest_digest\":\"".utf8)

    /// The text of the file; its last member is the digest of all before it.
    func bytes() throws -> [UInt8] {
        let object = Array(try JSONText.line(self).utf8.dropLast())
        return object + Self.member + Array("\(hexadecimal(XXHash64.of(object)))\"}\n".utf8)
    }

    /// The digest of a manifest's text.
    static func digest(_ bytes: [UInt8]) -> String { String(decoding: bytes.dropLast(3).suffix(16), as: UTF8.self) }

    /// - Throws: `UserError` (.badData) where it is damaged or of another program.
    init(_ bytes: [UInt8], at path: String) throws {
        func refused(_ what: String) -> UserError { UserError(.badData, what, at: path, advice: "restore the file from a copy") }
        let tail = Self.member.count + 16 + 3
        guard bytes.count > tail, bytes[(bytes.count - tail)...].starts(with: Self.member) else {
            throw refused("is cut off, or no manifest of a bank")
        }
        let object = Array(bytes.dropLast(tail))
        guard hexadecimal(XXHash64.of(object)) == Self.digest(bytes) else { throw refused("checksum mismatch: the manifest is damaged") }
        do { self = try BankJSON.decoder.decode(BankManifest.self, from: .init(object + [UInt8(ascii: "}")])) } catch {
            throw refused("is no manifest of a bank: \(BankJSON.reason(error))")
        }
        guard format == "mneme-bank", formatVersion == 1 else { throw refused("has format \(format), version \(formatVersion)") }
        try configuration.validate()
        guard layout == BankColumns(configuration).layout.digest, chains.count == configuration.shards else {
            throw refused("its columns or virtual shards do not fit its rules")
        }
    }
}
