// What is found of a language model that is read with a bank or a cache.

import Collectives
import Diagnostics
import Evaluation
import Foundation
import Sharding

extension LanguageTask {
    /// The perplexity of a text with a bank or a cache, beside that of the model alone. Collective.
    ///
    /// Weights, temperature and theta that are to be tuned are chosen on the corpus that is named for it, before the measured one is read.
    /// - Throws: `UserError`: what ``Datastore`` and ``ContextReader`` throw; (.usage) for a corpus that is both tuned on and measured.
    func report(
        _ corpus: Corpus, _ run: LanguageRun, _ reading: MemoryReading, _ communicator: any Communicator
    ) throws -> EvaluationReport {
        _ = try communicator.onEveryRank { try ContextReader(languageModel, corpus, perplexitySettings, communicator) }
        let tuning = try communicator.onEveryRank { () -> Corpus? in
            guard let path = reading.tune else { return nil }
            let tuning = try Corpus(directory: path)
            try run.requireFit(tuning)
            guard tuning.manifest.fingerprint != corpus.manifest.fingerprint else {
                throw UserError(
                    .usage, "holds the text that is to be measured", at: path, advice: "tune on another text, such as a validation corpus")
            }
            return tuning
        }
        let datastore = try reading.bank.map { _ in try Datastore(reading, of: languageModel, communicator) }
        let reader = MemoryReader(
            model: languageModel, settings: perplexitySettings, datastore: datastore, cache: reading.cache, communicator: communicator)
        let mixture = try tuning.map { try reader.tuned(on: $0, reading) } ?? reading.mixture
        let found = try reader.measure(corpus, mixture)
        var report = EvaluationReport(corpus: corpus.directory, found.mixed, nil)
        report.add(found, mixture, datastore, reading)
        return report
    }
}

extension EvaluationReport {
    /// What was read beside the model, and what the model says alone.
    fileprivate mutating func add(_ found: MemoryStatistics, _ mixture: Mixture, _ datastore: Datastore?, _ reading: MemoryReading) {
        func text(_ value: Double, _ format: String = "%.4f") -> String { String(format: format, value) }
        if let alone = found.model.perplexityPerToken, let mixed = found.mixed.perplexityPerToken {
            set("model_nats", .number(found.model.nats))
            set("model_perplexity", .number(alone))
            let change = text(100 * abs(1 - mixed / alone), "%.2f")
            say("model alone", "\(text(alone)) a token; with memory it \(mixed <= alone ? "falls" : "rises") by \(change) %")
        }
        if let datastore {
            set("bank", .text(datastore.bank.directory))
            set("namespace", .text(reading.namespace ?? ""))
            set("records", .count(datastore.records))
            set("neighbors", .count(datastore.neighbors))
            if let probes = datastore.probes { set("probe", .count(probes)) }
            set("lambda", .number(mixture.bankWeight))
            set("temperature", .number(mixture.temperature))
            set("hit_rate", .number(found.hitRate))
            set("read_entropy", .number(found.meanEntropy))
            say("bank", "\(datastore.bank.directory), namespace \(reading.namespace ?? ""), \(datastore.records) records")
            let lists = datastore.probes.map { " in \(quantity($0, "list"))" } ?? ""
            let settings = "lambda \(text(mixture.bankWeight)), temperature \(text(mixture.temperature))"
            say("", "\(settings), \(datastore.neighbors) neighbors\(lists)")
            let hits = text(100 * found.hitRate, "%.2f")
            say("", "\(hits) % of tokens among their neighbors, mean entropy of reads \(text(found.meanEntropy)) nats")
        }
        if let cache = reading.cache {
            set("cache", .count(cache))
            set("cache_lambda", .number(mixture.cacheWeight))
            set("cache_theta", .number(mixture.theta))
            set("cache_hit_rate", .number(found.cacheHitRate))
            say("cache", "\(cache) tokens, lambda \(text(mixture.cacheWeight)), theta \(text(mixture.theta, "%.6f"))")
            say("", "\(text(100 * found.cacheHitRate, "%.2f")) % of tokens among those before them")
        }
        if let tune = reading.tune {
            set("tuned_on", .text(tune))
            say("tuned on", tune)
        }
    }
}
