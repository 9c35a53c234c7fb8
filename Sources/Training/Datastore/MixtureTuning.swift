// The weights, the temperature and the theta under which a text is most likely.
//
// Legend: n tokens, A temperatures, C thetas.

import Foundation

/// What a model, a bank and a cache say of the tokens of a text, under all temperatures and thetas that are tried.
package struct TuningTable {
    /// What is tried, A of one and C of the other; none without a bank or a cache.
    package let temperatures: [Double]
    package let thetas: [Double]
    /// Row by row log p of the model, log p of the bank under each temperature, log p of the cache under each theta: [n, 1 + A + C]. A
    /// cache that is empty yet says not-a-number.
    package var values: [Float] = []

    /// A table of no tokens.
    package init(temperatures: [Double], thetas: [Double]) { (self.temperatures, self.thetas) = (temperatures, thetas) }

    private var width: Int { 1 + temperatures.count + thetas.count }
    /// n.
    package var count: Int { values.count / width }

    /// Of each token how much likelier a column has it than the model; `nil` where the column says nothing.
    private func ratios(_ column: Int) -> [Double?] {
        (0..<count).map { row in
            let value = values[row * width + column]
            return value.isNaN ? nil : exp(min(600, Double(value) - Double(values[row * width])))
        }
    }

    /// The mixture under which the tokens are most likely.
    ///
    /// A temperature is chosen for the bank alone and a theta for the cache alone; then, as the likelihood is concave in either weight,
    /// each weight in turn.
    /// - Parameters:
    ///   - start: gives the weights that are not to be chosen.
    ///   - choosesBankWeight: whether the bank's weight is; temperature and theta always are, among those of the table.
    ///   - choosesCacheWeight: whether the cache's weight is.
    package func best(_ start: Mixture, choosesBankWeight: Bool, choosesCacheWeight: Bool) -> Mixture {
        var mixture = start
        var bank = [Double?](repeating: nil, count: count)
        var cache = bank
        /// The column that is best on its own, with its weight.
        func choose(_ columns: Range<Int>, weight: Double?) -> (place: Int, ratios: [Double?]) {
            var found = (place: 0, ratios: bank, value: -Double.infinity)
            for (place, column) in columns.enumerated() {
                let ratios = ratios(column)
                let weight = weight ?? Self.bestWeight(ratios.map { ratio in ratio.map { Term(a: 1, b: $0 - 1) } })
                let value = ratios.reduce(0) { $0 + ($1.map { log(1 + weight * ($0 - 1)) } ?? 0) }
                if value > found.value { found = (place, ratios, value) }
            }
            return (found.place, found.ratios)
        }
        if !temperatures.isEmpty {
            let (place, ratios) = choose(1..<(1 + temperatures.count), weight: choosesBankWeight ? nil : start.bankWeight)
            (mixture.temperature, bank) = (temperatures[place], ratios)
        }
        if !thetas.isEmpty {
            let (place, ratios) = choose((1 + temperatures.count)..<width, weight: choosesCacheWeight ? nil : start.cacheWeight)
            (mixture.theta, cache) = (thetas[place], ratios)
        }
        if choosesBankWeight { mixture.bankWeight = 0 }
        if choosesCacheWeight { mixture.cacheWeight = 0 }
        // The weights depend on one another: each is chosen again until neither moves.
        var last: Mixture?
        for _ in 0..<(choosesBankWeight && choosesCacheWeight ? 1000 : 1) {
            if mixture == last { break }
            last = mixture
            if choosesBankWeight, !temperatures.isEmpty {
                mixture.bankWeight = Self.bestWeight(
                    zip(bank, cache).map { bank, cache in
                        bank.map { bank in
                            let (share, cached) = cache.map { (mixture.cacheWeight, $0) } ?? (0, 0)
                            return Term(a: 1 - share + share * cached, b: (1 - share) * (bank - 1))
                        }
                    })
            }
            if choosesCacheWeight, !thetas.isEmpty {
                mixture.cacheWeight = Self.bestWeight(
                    zip(bank, cache).map { bank, cache in
                        cache.map { cache in
                            let before = bank.map { 1 + mixture.bankWeight * ($0 - 1) } ?? 1
                            return Term(a: before, b: cache - before)
                        }
                    })
            }
        }
        return mixture
    }

    /// A token's likelihood by that of the model, a + w b, where w is a weight.
    private struct Term {
        let a: Double
        let b: Double
    }

    /// The weight w in 0 ... 1 that maximises the sum of log(a + w b) over the terms that there are; to six digits.
    private static func bestWeight(_ terms: [Term?]) -> Double {
        func slope(_ weight: Double) -> Double {
            terms.reduce(0) { sum, term in sum + (term.map { $0.b / max($0.a + weight * $0.b, 1e-300) } ?? 0) }
        }
        if slope(0) <= 0 { return 0 }
        if slope(1) >= 0 { return 1 }
        var (low, high) = (0.0, 1.0)
        for _ in 0..<20 {
            let middle = (low + high) / 2
            if slope(middle) > 0 { low = middle } else { high = middle }
        }
        return (low * 1e6).rounded() / 1e6
    }
}
