// How many facts a model recalls, and what that comes to in bits.
//
// Legend: N people.

import Corpora
import Foundation

/// How many facts are recalled, by attribute; sums that ranks can add up.
struct FactRecall {
    /// People who were asked about.
    var people: Int
    /// By attribute: questions, right answers, right answers to questions in other words, nats of the values.
    private var sums: [SIMD4<Double>]
    /// Questions for facts that the bank has, those answered right; questions for facts that it has not, those answered right all the same.
    private var bank = SIMD4<Double>.zero
    /// Questions to which records were found, those whose first record was the right one, and those with the right one among them.
    private var records = SIMD4<Double>.zero
    /// Whether values have a loss.
    private var hasLoss = false
    /// The predicted tokens of text, where values are not.
    var (textNats, textTokens) = (0.0, 0.0)

    static let width = 4 * BiographyAttribute.allCases.count + 9

    init(people: Int) {
        self.people = people
        sums = Array(repeating: .zero, count: BiographyAttribute.allCases.count)
    }

    init(people: Int, encoded: [Double]) {
        self.init(people: people)
        for place in sums.indices { for part in 0..<4 { sums[place][part] = encoded[4 * place + part] } }
        for part in 0..<4 { (bank[part], records[part]) = (encoded[4 * sums.count + part], encoded[4 * sums.count + 4 + part]) }
        hasLoss = encoded[Self.width - 1] > 0
    }

    var encoded: [Double] { (sums + [bank, records]).flatMap { sum in (0..<4).map { sum[$0] } } + [hasLoss ? 1 : 0] }

    mutating func add(_ attribute: BiographyAttribute, isParaphrased: Bool, isRight: Bool, nats: Double? = nil, isKept: Bool? = nil) {
        let (place, right) = (attribute.rawValue, isRight ? 1.0 : 0)
        if isParaphrased {
            sums[place][2] += right
            return
        }
        sums[place][0] += 1
        sums[place][1] += right
        if let nats {
            sums[place][3] += nats
            hasLoss = true
        }
        if let isKept {
            bank[isKept ? 0 : 2] += 1
            bank[isKept ? 1 : 3] += right
        }
    }

    /// - Parameter place: where the right record stands among those that were found, from 0; `nil` where it is not.
    mutating func add(rightRecordAt place: Int?) { records += [1, place == 0 ? 1 : 0, place == nil ? 0 : 1, 0] }

    private func share(_ place: Int, _ part: Int) -> Double { sums[place][0] == 0 ? 0 : sums[place][part] / sums[place][0] }
    private func mean(_ part: Int) -> Double { sums.indices.reduce(0) { $0 + share($1, part) } / Double(sums.count) }

    /// Bits of a person's facts that are recalled: of an attribute its bits less the mean cross-entropy of its value, at least 0; where values are looked up, its
    /// bits times the share that is right.
    private var bitsPerPerson: Double {
        BiographyAttribute.allCases.reduce(0) { bits, attribute in
            let place = attribute.rawValue
            return bits + (hasLoss ? max(0, attribute.bits - share(place, 3) / log(2)) : attribute.bits * share(place, 1))
        }
    }

    /// Recall of facts that the bank has, and of those that it has not.
    private var bankScores: [TaskScores.Score] {
        [("of_facts_in_the_bank", 0), ("of_facts_not_in_the_bank", 2)].flatMap { name, part -> [TaskScores.Score] in
            bank[part] == 0 ? [] : [.init("recall_\(name)", bank[part + 1] / bank[part]), .init("questions_\(name)", bank[part])]
        }
    }

    /// How often the right record was found, where records were looked for by answers alone.
    private var recordScores: [TaskScores.Score] {
        records[0] == 0 ? [] : [.init("record_first", records[1] / records[0]), .init("record_found", records[2] / records[0])]
    }

    /// - Parameter all: N.
    func scores(of all: Int) -> TaskScores {
        let names = BiographyAttribute.allCases.map { $0.name.replacing(" ", with: "_") }
        let values = sums.reduce(0) { $0 + $1[3] } / max(1, sums.reduce(0) { $0 + $1[0] })
        return TaskScores(
            examples: people, loss: hasLoss ? values : textTokens > 0 ? textNats / textTokens : nil,
            scores: [
                .init("recall", mean(1)), .init("recall_in_other_words", mean(2)), .init("bits_per_person", bitsPerPerson),
                .init("bits_recalled", bitsPerPerson * Double(all)),
            ] + recordScores,
            details: names.enumerated().map { .init("recall_\($1)", share($0, 1)) } + bankScores)
    }
}
