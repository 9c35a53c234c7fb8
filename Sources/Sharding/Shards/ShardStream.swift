// One rank's walk through the input: it makes its own shards and passes over the others'.

import Collectives
import Corpora
import Diagnostics
import Foundation
import HDF5
import Inputs
import Storage

/// The state of one rank's walk through all records.
final class ShardStream {
    let kind: CorpusKind
    let labels: [String]
    let tokenType: HDF5ElementType
    /// This rank's shards, in order.
    private(set) var finished: [CorpusManifest.Shard] = []
    /// How many of them an earlier run had made.
    private(set) var kept = 0
    /// Shards of all ranks, once the walk is over.
    private(set) var shardCount = 0
    private(set) var records = 0
    private(set) var badRecordCount = 0
    private(set) var badRecords: [CorpusManifest.BadRecord] = []

    private let plan: ShardingPlan
    private let recipe: String
    private let communicator: any Communicator
    private let reader: any CorpusReader
    private let builder: ShardBuilder
    private let start = ContinuousClock.now
    private var bytes = 0

    /// The shard under way.
    private var shard = 0
    private var bytesInShard = 0
    private var role = Role.notBegun
    /// The first record of the document under way, by which cleaning decides about the document's later pieces.
    private var documentStart: CorpusRecord?
    /// The record that did not fit into the shard before.
    private var pending: CorpusRecord?

    private enum Role {
        /// No record of this shard has come yet.
        case notBegun
        /// Another rank makes this shard, or an earlier run has made it.
        case passing
        /// This rank makes this shard.
        case building
    }

    /// How many wrong records corpus.json describes.
    private static let describedBadRecords = 20
    /// Records between two calls of the progress handler.
    private static let recordsPerReport = 4096

    init(_ plan: ShardingPlan, of inputs: [CorpusInput], recipe: String, _ communicator: any Communicator) throws {
        self.plan = plan
        self.recipe = recipe
        self.communicator = communicator
        reader = try plan.makeReader(inputs)
        kind = reader.isPaired ? .pairs : .text
        labels = reader.labels
        tokenType = ShardLayout.tokenType(vocabularySize: plan.tokenizer.vocabularySize)
        builder = ShardBuilder(kind: kind, tokenizer: plan.tokenizer, tokenType: tokenType, rules: plan.rules, recipe: recipe)
    }

    /// Walks to the end. Collective: ranks meet after each round of one shard a rank.
    func run(_ progress: (ShardingProgress) -> Void) throws {
        var atEnd = false
        while !atEnd {
            atEnd = try communicator.onEveryRank { try walkRound(progress) }
        }
        shardCount = role == .notBegun ? shard : shard + 1
    }

    /// Walks until all ranks have come past one shard more.
    /// - Returns: true at the end of the input.
    private func walkRound(_ progress: (ShardingProgress) -> Void) throws -> Bool {
        while true {
            guard var record = try nextRecord() else {
                try endShard(documentGoesOn: false)
                report(progress)
                return true
            }
            if isFull(for: record) {
                pending = record
                try endShard(documentGoesOn: !record.startsDocument)
                shard += 1
                bytesInShard = 0
                role = .notBegun
                report(progress)
                if shard % communicator.size == 0 { return false }
                continue
            }
            if role == .notBegun { try beginShard(record) }
            if record.startsDocument { documentStart = reader.isPaired ? nil : record }
            let size = record.source.count + (record.target?.count ?? 0)
            bytesInShard += size
            bytes += size
            records += 1
            if records % Self.recordsPerReport == 0 { report(progress) }
            if role == .building { builder.add(&record) }
        }
    }

    /// A shard ends before the first document that begins after its size; a document that goes on beyond twice that size is cut.
    private func isFull(for record: CorpusRecord) -> Bool {
        bytesInShard >= plan.shardSize && (record.startsDocument || bytesInShard >= 2 * plan.shardSize)
    }

    private func nextRecord() throws -> CorpusRecord? {
        if let record = pending {
            pending = nil
            return record
        }
        while true {
            do {
                return try reader.next()
            } catch let error as RecordError {
                try count(error)
            }
        }
    }

    private func count(_ error: RecordError) throws {
        badRecordCount += 1
        if badRecords.count < Self.describedBadRecords {
            badRecords.append(
                CorpusManifest.BadRecord(what: error.what, file: PathText.shown(error.place.file), line: error.place.line, byte: error.place.byte))
        }
        guard badRecordCount > plan.badRecordLimit else { return }
        let place = "\(error.place.file), line \(error.place.line), byte \(error.place.byte)"
        let count = plan.badRecordLimit == 0 ? "" : " (\(badRecordCount) wrong records, \(plan.badRecordLimit) allowed)"
        throw UserError(.badData, error.what + count, at: place, advice: "mend the record, or allow more with --bad-records")
    }

    private func beginShard(_ record: CorpusRecord) throws {
        role = .passing
        guard shard % communicator.size == communicator.rank else { return }
        if let made = earlierShard() {
            finished.append(made)
            kept += 1
            return
        }
        role = .building
        builder.begin(continuing: record.startsDocument ? nil : documentStart)
    }

    private func endShard(documentGoesOn: Bool) throws {
        guard role == .building else { return }
        finished.append(try builder.finish(index: shard, directory: plan.output, documentGoesOn: documentGoesOn))
    }

    /// The entry of this shard where an earlier run has made it from the same inputs and it is whole.
    private func earlierShard() -> CorpusManifest.Shard? {
        let path = Directory.path(of: ShardLayout.fileName(shard), in: plan.output)
        guard withSystemPath(path, { access($0, F_OK) }) == 0,
            let entry = try? CorpusShard.summary(path, recipe: recipe).withSize(ofFileAt: path),
            let opened = try? CorpusShard(path: path, entry: entry, kind: kind, tokenType: tokenType, recipe: recipe),
            (try? opened.verify(vocabularySize: plan.tokenizer.vocabularySize, labelCount: labels.count)) != nil
        else { return nil }
        return entry
    }

    /// Removes this rank's shards again: nothing is left to be a corpus of.
    func removeFinished() {
        for shard in finished { withSystemPath(Directory.path(of: shard.file, in: plan.output), unlink) }
    }

    private func report(_ progress: (ShardingProgress) -> Void) {
        guard communicator.rank == 0 else { return }
        let elapsed = ContinuousClock.now - start
        progress(ShardingProgress(bytes: bytes, records: records, shards: shard, seconds: elapsed / .seconds(1)))
    }
}
