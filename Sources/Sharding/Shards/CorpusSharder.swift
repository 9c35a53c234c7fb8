// From input files to a corpus directory, on any number of ranks, with the same bytes in the end.

import Collectives
import Corpora
import Diagnostics
import Foundation
import HDF5
import Inputs
import Storage

/// How far sharding has come.
public struct ShardingProgress: Sendable {
    /// Bytes of text read so far, before cleaning.
    public var bytes = 0
    /// Records read so far.
    public var records = 0
    /// Shards that this rank has come past.
    public var shards = 0
    /// Seconds since sharding began.
    public var seconds = 0.0
}

/// What sharding did.
public struct ShardingOutcome: Sendable {
    /// What corpus.json says now.
    public var manifest: CorpusManifest
    /// Shards that an interrupted run had finished and that were kept.
    public var shardsKept: Int
    /// True where the directory already held this very corpus and nothing was done.
    public var wasComplete: Bool
    /// What lies below the inputs and was not read.
    public var passedOver: [PassedOver]
}

/// Reads, cleans, tokenises and writes a corpus.
///
/// Every rank streams all of the input; where shards begin is a function of the input alone, and shard k is cleaned, tokenised and written by rank k
/// mod P. So the files do not depend on the number of ranks. Shards take their names only when complete, and corpus.json is written last: a run that
/// was interrupted goes on with the shards that are missing. Each rank holds one shard's tokens in memory, whatever the corpus size.
/// Ranks agree on errors each time all of them have come past one shard of their own, so that one rank's error ends all within seconds.
public struct CorpusSharder {
    private let plan: ShardingPlan
    private let communicator: any Communicator
    private let progress: (ShardingProgress) -> Void
    /// The corpus of which shards are made again; `nil` where a corpus is made.
    private let repaired: CorpusManifest?

    /// - Parameters:
    ///   - plan: the same on every rank.
    ///   - communicator: the ranks that share the work.
    ///   - progress: called now and then on rank 0.
    public init(_ plan: ShardingPlan, communicator: any Communicator, progress: @escaping (ShardingProgress) -> Void = { _ in }) {
        self.init(plan, repairing: nil, communicator: communicator, progress: progress)
    }

    init(
        _ plan: ShardingPlan, repairing repaired: CorpusManifest?, communicator: any Communicator, progress: @escaping (ShardingProgress) -> Void
    ) {
        self.plan = plan
        self.repaired = repaired
        self.communicator = communicator
        self.progress = progress
    }

    /// Makes the corpus. Collective.
    /// - Throws: on every rank the same `UserError`: inputs that cannot be read (.missingInput), more wrong records than allowed or no record
    ///   left (.badData), a directory that holds another corpus (.configuration), a disk that fails (.inputOutput).
    public func run() throws -> ShardingOutcome {
        let tokenizer = plan.tokenizer
        try communicator.onEveryRank {
            guard tokenizer.endID >= 0, tokenizer.beginningID >= 0, tokenizer.unknownID >= 0 else {
                throw UserError(.badData, "the tokenizer has no beginning, end or unknown piece", advice: "train one with `mneme tokenizer train`")
            }
        }
        let listed: [UInt8] = try communicator.onEveryRank {
            guard communicator.rank == 0 else { return [] }
            return Array(try JSONEncoder().encode(plan.listInputs()))
        }
        let inputs = try JSONDecoder().decode([CorpusInput].self, from: Data(communicator.broadcasted(listed, root: 0)))
        let hashes = try InputHashes(of: inputs, communicator)
        let recipe = try CorpusManifest.recipe(
            format: plan.format, inputs: hashes.entries, options: options, tokenizerFingerprint: tokenizer.fingerprint)
        let passedOver = inputs.flatMap(\.passedOver)
        if let repaired {
            try communicator.onEveryRank { try requireInputs(of: repaired, hashes.entries, recipe) }
        } else if let complete = try communicator.onEveryRank({ try existing(recipe) }) {
            return ShardingOutcome(manifest: complete, shardsKept: complete.shards.count, wasComplete: true, passedOver: passedOver)
        }
        try communicator.onEveryRank { if communicator.rank == 0 { try prepareDirectory() } }
        let stream = try communicator.onEveryRank { try ShardStream(plan, of: inputs, recipe: recipe, communicator) }
        try stream.run(progress)
        var outcome = try conclude(stream, hashes, recipe: recipe) { try nothingLeft(inputs, stream, $0) }
        outcome.passedOver = passedOver
        return outcome
    }

    /// Options as corpus.json records them.
    private var options: [String: String] {
        get throws {
            var options = plan.readerOptions
            if let repaired { return repaired.options }
            options["shard-size"] = "\(plan.shardSize)"
            options["bad-records"] = "\(plan.badRecordLimit)"
            options["cleaning"] = String(decoding: try CorpusManifest.compactEncoder().encode(plan.rules), as: UTF8.self)
            return options
        }
    }

    /// The manifest of the very same corpus where the directory holds it already.
    /// - Throws: where the directory holds another one.
    private func existing(_ recipe: String) throws -> CorpusManifest? {
        guard withSystemPath(CorpusManifest.path(in: plan.output), { access($0, F_OK) }) == 0 else { return nil }
        let manifest = try CorpusManifest.read(directory: plan.output)
        guard manifest.recipe == recipe else {
            throw UserError(
                .configuration, "holds a corpus made from other inputs, options or another tokenizer", at: plan.output,
                advice: "choose another output directory, or remove this one")
        }
        return manifest
    }

    /// Makes sure that inputs are those that a corpus was made from.
    private func requireInputs(of manifest: CorpusManifest, _ inputs: [CorpusManifest.Input], _ recipe: String) throws {
        if manifest.recipe == recipe { return }
        let changed = zip(manifest.inputs, inputs).first { $0 != $1 }?.1.path
        throw UserError(
            .badData, changed == nil ? "its inputs cannot be read as they were" : "is not as it was when the corpus was made", at: changed ?? plan.output,
            advice: "bring back the inputs as they were, or shard them into another directory")
    }

    private func prepareDirectory() throws {
        try Directory.make(plan.output)
        try DurableFile.replace(Directory.path(of: Corpus.tokenizerFile, in: plan.output), by: plan.tokenizer.modelBytes)
    }

    /// Gathers every rank's shards and commits the corpus.
    /// - Parameter explain: throws why there is no record.
    private func conclude(
        _ stream: ShardStream, _ hashes: InputHashes, recipe: String, explain: (CleaningCounts) throws -> Void
    ) throws -> ShardingOutcome {
        let gathered = try communicator.allGather(Array(try CorpusManifest.compactEncoder().encode(stream.finished)))
        let everyRank = try gathered.map { try JSONDecoder().decode([CorpusManifest.Shard].self, from: Data($0)) }
        // Rank r has shards r, r + P, ... in order.
        let shards = (0..<stream.shardCount).map { everyRank[$0 % communicator.size][$0 / communicator.size] }
        let shardsKept = try communicator.allReduced(stream.kept, .sum)
        var counts = CorpusCounts()
        var cleaning = CleaningCounts()
        for shard in shards {
            counts.add(shard.counts)
            cleaning.add(shard.cleaning)
        }
        let unchanged = Result { try communicator.onEveryRank { try hashes.requireUnchanged() } }
        if case .failure = unchanged, repaired == nil { stream.removeFinished() }
        try unchanged.get()
        try communicator.onEveryRank {
            guard counts.documents > 0 else {
                stream.removeFinished()
                return try explain(cleaning)
            }
        }
        let tokenizer = plan.tokenizer
        var manifest = CorpusManifest(
            format: "mneme-corpus", formatVersion: CorpusManifest.currentVersion, kind: stream.kind, fingerprint: "", recipe: recipe,
            sourceFormat: plan.format, inputs: hashes.entries, options: try options,
            tokenizer: CorpusManifest.Tokenizer(describing: tokenizer),
            tokenType: stream.tokenType.rawValue, counts: counts, cleaning: cleaning, badRecordCount: stream.badRecordCount,
            badRecords: stream.badRecords, labels: stream.labels, shards: shards)
        manifest.fingerprint = manifest.computedFingerprint
        if let repaired {
            guard manifest == repaired else {
                throw UserError(
                    .badData, "the shards that were made again are not those that it had", at: plan.output,
                    advice: "it may be of another version of Mneme; shard the inputs into another directory").shared
            }
            return ShardingOutcome(manifest: manifest, shardsKept: shardsKept, wasComplete: false, passedOver: [])
        }
        try communicator.onEveryRank {
            guard communicator.rank == 0 else { return }
            try removeLeftovers(shardCount: shards.count)
            try DurableFile.replace(CorpusManifest.path(in: plan.output), by: try manifest.encoded())
        }
        return ShardingOutcome(manifest: manifest, shardsKept: shardsKept, wasComplete: false, passedOver: [])
    }

    /// Says why there is no record: cleaning left none, or the inputs have none of this format, and what they seem to be.
    private func nothingLeft(_ inputs: [CorpusInput], _ stream: ShardStream, _ cleaning: CleaningCounts) throws {
        let first = inputs.first(where: \.holdsRecords)
        guard stream.records == 0 else {
            throw UserError(
                .badData,
                "no record is left: \(stream.records) read, \(cleaning.droppedTotal) dropped by cleaning, \(stream.badRecordCount) wrong",
                at: first?.path, advice: "check the cleaning limits")
        }
        let wrong = stream.badRecordCount
        let what = wrong > 0 ? "all \(wrong) records are wrong" : "there is no record of --format \(plan.format.rawValue)"
        let file = first?.files.first
        let guess = file.flatMap { InputFiles.guess($0) }.map { "; \(file == first?.path ? "it" : file ?? "") seems to be \($0)" }
        throw UserError(.badData, what + (guess ?? ""), at: first?.path, advice: "check the inputs and the format")
    }

    /// Removes what an earlier, different run left behind: shards past the last one, and partial files.
    private func removeLeftovers(shardCount: Int) throws {
        let names = (try? Directory.names(in: plan.output)) ?? []
        for name in names {
            let isPartial = name.hasPrefix(".shard-") && name.hasSuffix(".h5.partial")
            let index = name.hasPrefix("shard-") && name.hasSuffix(".h5") ? Int(name.dropFirst(6).dropLast(3)) : nil
            if isPartial || (index ?? -1) >= shardCount { withSystemPath(Directory.path(of: name, in: plan.output), unlink) }
        }
    }
}
