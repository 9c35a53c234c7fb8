// One probability out of three: the model's, a datastore's and a cache's.
//
// Legend: D a squared distance, k neighbours, s an inner product.

import Foundation

/// How what a bank and a cache say is mixed with what the model says.
///
/// p = c p_cache + (1 - c) (l p_bank + (1 - l) p_model), where a token has a cache to look back at; without one, p = l p_bank + (1 - l)
/// p_model.
///
/// - Source: Khandelwal et al. 2020, Generalization through memorization: nearest neighbor language models, equations 2 and 3; Grave et al.
///   2017, Improving neural language models with a continuous cache, equations 2 and 5.
package struct Mixture: Sendable, Equatable {
    /// l, the weight of the bank; 0 without one.
    package var bankWeight = 0.0
    /// What squared distances are divided by.
    package var temperature = 1.0
    /// c, the weight of the cache; 0 without one.
    package var cacheWeight = 0.0
    /// What inner products are multiplied by.
    package var theta = 1.0

    /// The model alone, unless weights are given.
    package init(bankWeight: Double = 0, temperature: Double = 1, cacheWeight: Double = 0, theta: Double = 1) {
        (self.bankWeight, self.temperature, self.cacheWeight, self.theta) = (bankWeight, temperature, cacheWeight, theta)
    }

    /// log p of a token.
    /// - Parameters:
    ///   - model: log p_model.
    ///   - bank: log p_bank, minus infinity where no neighbour has the token; `nil` where there are no neighbours.
    ///   - cache: the same of the cache.
    /// - Returns: exactly `model` where the others have no weight.
    package func logProbability(model: Double, bank: Double?, cache: Double?) -> Double {
        var result = model
        if let bank { result = Self.mixed(result, bank, bankWeight) }
        if let cache { result = Self.mixed(result, cache, cacheWeight) }
        return result
    }

    /// log((1 - weight) exp(one) + weight exp(other)).
    private static func mixed(_ one: Double, _ other: Double, _ weight: Double) -> Double {
        if weight <= 0 { return one }
        if weight >= 1 { return other }
        let (a, b) = (log(1 - weight) + one, log(weight) + other)
        let larger = max(a, b)
        return larger == -.infinity ? larger : larger + log1p(exp(min(a, b) - larger))
    }
}

/// What the entries that a read has found say of the token that came: entries weigh in proportion to exp(scale x score).
package struct WeightedRead {
    /// log of the weight of the entries that hold the token; minus infinity where none does.
    package private(set) var logProbability = -Double.infinity
    /// The entropy of the weights, in nats.
    package private(set) var entropy = 0.0

    /// - Parameters:
    ///   - scores: of each entry; for neighbours minus the squared distance, for a cache the inner product.
    ///   - matches: whether the entry holds the token that came.
    ///   - scale: one divided by the temperature, or theta.
    package init(_ scores: UnsafeBufferPointer<Float>, _ matches: UnsafeBufferPointer<Bool>, scale: Double) {
        guard let largest = scores.max() else { return }
        var (all, matching, moment) = (0.0, 0.0, 0.0)
        for index in scores.indices {
            let exponent = scale * Double(scores[index] - largest)
            let weight = exp(exponent)
            all += weight
            moment += weight * exponent
            if matches[index] { matching += weight }
        }
        entropy = log(all) - moment / all
        if matching > 0 {
            logProbability = log(matching / all)
            return
        }
        // What matches may lie so far behind that its weights vanish beside the largest: compared with its own largest, they do not.
        var best = -Float.infinity
        for index in scores.indices where matches[index] { best = max(best, scores[index]) }
        guard best > -.infinity else { return }
        var sum = 0.0
        for index in scores.indices where matches[index] { sum += exp(scale * Double(scores[index] - best)) }
        logProbability = scale * Double(best - largest) + log(sum) - log(all)
    }
}
