// What a language model is read together with: a bank as datastore, a cache of the stream.

import Diagnostics

/// The options of an evaluation that reads a bank or a cache beside the model. What is not given has a usual value, or is tuned.
public struct MemoryReading: Sendable, Equatable {
    /// The bank's directory.
    public var bank: String?
    /// The namespace of it that is read; no other is.
    public var namespace: String?
    /// k, the neighbours of each token.
    public var neighbors: Int?
    /// The lists of an inverted file that are looked through; `nil` searches exactly.
    public var probes: Int?
    /// The weight of the bank.
    public var lambda: Double?
    /// What squared distances are divided by.
    public var temperature: Double?
    /// Entries of the cache of a stream.
    public var cache: Int?
    /// What inner products are multiplied by.
    public var cacheTheta: Double?
    /// The weight of the cache.
    public var cacheLambda: Double?
    /// A corpus on which weights, temperature and theta are chosen.
    public var tune: String?

    /// Neither bank nor cache.
    public init() {}

    /// Whether anything is read.
    public var isGiven: Bool { bank != nil || cache != nil }

    static let usualNeighbors = 256
    static let usual = Mixture(bankWeight: 0.25, temperature: 1, cacheWeight: 0.1, theta: 0.3)

    /// Makes sure that the options go together.
    /// - Throws: `UserError` (.usage) that names the option.
    public func validate() throws {
        func refuse(_ option: String, _ what: String, _ advice: String) throws { throw UserError(.usage, what, at: option, advice: advice) }
        func requireBank(_ isGiven: Bool, _ option: String) throws {
            if isGiven, bank == nil { try refuse(option, "says how a bank is read, and none is", "give --bank BANK, or leave it out") }
        }
        func requireCache(_ isGiven: Bool, _ option: String) throws {
            if isGiven, cache == nil { try refuse(option, "says how a cache is read, and none is", "give --cache N, or leave it out") }
        }
        func requireRange(_ value: Double?, _ option: String, _ range: ClosedRange<Double>) throws {
            if let value, !range.contains(value) { try refuse(option, "is \(value)", "give \(range.lowerBound) to \(range.upperBound)") }
        }
        try requireBank(namespace != nil, "--namespace")
        try requireBank(neighbors != nil, "--neighbors")
        try requireBank(probes != nil, "--probe")
        try requireBank(lambda != nil, "--lambda")
        try requireBank(temperature != nil, "--temperature")
        try requireCache(cacheTheta != nil, "--cache-theta")
        try requireCache(cacheLambda != nil, "--cache-lambda")
        if bank != nil, namespace == nil {
            try refuse("--bank", "no namespace is given", "give --namespace NAME; mneme memory list BANK --namespaces lists them")
        }
        if tune != nil, !isGiven {
            try refuse("--tune-on", "there is no bank and no cache whose weight could be chosen", "give --bank or --cache")
        }
        if tune != nil, lambda != nil { try refuse("--lambda", "is given, and to be chosen by --tune-on too", "leave one of them out") }
        if tune != nil, cacheLambda != nil {
            try refuse("--cache-lambda", "is given, and to be chosen by --tune-on too", "leave one of them out")
        }
        try requireRange(lambda, "--lambda", 0...1)
        try requireRange(cacheLambda, "--cache-lambda", 0...1)
        try requireRange(temperature, "--temperature", 1e-6...1e9)
        try requireRange(cacheTheta, "--cache-theta", 0...1e6)
        if let neighbors, !(1...65_536).contains(neighbors) { try refuse("--neighbors", "is \(neighbors)", "give 1 to 65536") }
        if let probes, probes < 1 { try refuse("--probe", "is \(probes)", "give at least 1") }
        if let cache, !(1...1_000_000).contains(cache) { try refuse("--cache", "is \(cache)", "give 1 to 1000000") }
    }

    /// The mixture that the options and the usual values give.
    var mixture: Mixture {
        Mixture(
            bankWeight: bank == nil ? 0 : lambda ?? Self.usual.bankWeight, temperature: temperature ?? Self.usual.temperature,
            cacheWeight: cache == nil ? 0 : cacheLambda ?? Self.usual.cacheWeight, theta: cacheTheta ?? Self.usual.theta)
    }
}
