// Biographies in shuffled order, lane by lane.
//
// Legend: B people of a batch, A attributes of each.

/// The biographies of some lanes of a step.
public struct BiographyRows: Sendable, Equatable {
    /// The global lane of each, [B].
    public let lanes: [Int]
    /// The person of each, [B].
    public let people: [Int]
    /// The symbols of each: B rows of ``Biographies/length``.
    public let symbols: [[Int32]]
    /// Where each says its attributes: B rows of A.
    public let places: [[Biographies.Place]]
    /// By attribute of each, in the order of `places`, the question of somebody whose name differs in one part: B rows of A.
    public let nearMisses: [[[Int32]]]
}

extension BiographyRows {
    /// A biography of each of some people, for evaluation: the same for the same seed.
    public init(of people: [Int], _ biographies: Biographies, seed: UInt64) {
        let all = people.map { person in
            var choices = SeededChoices(seed: seed, path: [4, UInt64(person)])
            return biographies.biography(of: person, &choices)
        }
        self.init(lanes: Array(people.indices), people: people, symbols: all.map(\.symbols), places: all.map(\.places), nearMisses: [])
    }
}

/// The people in shuffled order, one biography an epoch, each time in another order and other phrasings.
public final class BiographyLoader: LaneLoader {
    private let biographies: Biographies
    private var order: ShuffledOrder

    /// - Parameters:
    ///   - lanes: of the global batch.
    ///   - seed: of the run.
    public init(_ biographies: Biographies, lanes: Int, seed: UInt64) {
        self.biographies = biographies
        order = ShuffledOrder(count: biographies.people, lanes: lanes, seed: seed)
    }

    public var laneCount: Int { order.laneCount }
    public var position: LoaderPosition { order.position }
    public func seek(to position: LoaderPosition) throws { try order.seek(to: position, of: "people") }
    public func advance() { order.advance() }

    public func batch(lanes: [Int]) -> BiographyRows {
        let people = lanes.map { order.example(ofLane: $0) }
        var (symbols, places, nearMisses): ([[Int32]], [[Biographies.Place]], [[[Int32]]]) = ([], [], [])
        for (lane, person) in zip(lanes, people) {
            var choices = order.choices(ofLane: lane)
            let biography = biographies.biography(of: person, &choices)
            symbols.append(biography.symbols)
            places.append(biography.places)
            nearMisses.append(biography.places.map { nearMiss($0.attribute, person, &choices) })
        }
        return BiographyRows(lanes: lanes, people: people, symbols: symbols, places: places, nearMisses: nearMisses)
    }

    /// The key of an attribute of a person whose name differs from a given one's in one part.
    private func nearMiss(_ attribute: BiographyAttribute, _ person: Int, _ choices: inout SeededChoices) -> [Int32] {
        var question = biographies.question(attribute, of: person, phrasing: nil)
        let part = choices.below(3)
        let kind = ([.first, .middle, .last] as [BiographySymbols.Kind])[part]
        // Another one of the same kind: the numbers behind it, in a circle.
        let number = (Int(question[1 + part]) - kind.start + 1 + choices.below(kind.count - 1)) % kind.count
        question[1 + part] = BiographySymbols.symbol(kind, number)
        return question
    }
}
