// End-to-end memory networks (Sukhbaatar, Szlam, Weston and Fergus 2015), from words to the last state. Numbers in brackets are the paper's
// equations.
//
// Legend: D width, V vocabulary, M temporal rows, K hops, N sentences, u the state.

/// The memories of the hops and the way through them, for one story.
public struct ReferenceHops: Sendable {
    /// For each hop the tables of its input memory m and its output memory c.
    public var hops: [(keys: Int, values: Int)]
    /// H, [D, D]: layer-wise tying (section 2.2).
    public var transition: ReferenceArray?
    /// The last units of a state that go through a rectifier (section 5).
    public var rectifiedUnits = 0
    /// Leave the softmax out (section 4.1, linear start).
    public var isLinear = false
    /// Slots that hold zeros and can be attended to.
    public var emptySlots = 0

    public init(hops: [(keys: Int, values: Int)], transition: ReferenceArray?) { (self.hops, self.transition) = (hops, transition) }

    /// u after the last hop, [D].
    /// - Parameters:
    ///   - u: the first state, [D].
    ///   - memories: [N, D] of each table.
    public func run(_ u: ReferenceArray, _ memories: [ReferenceArray]) -> ReferenceArray {
        var u = u
        for (keys, values) in hops {
            var next = transition?.times(u) ?? u
            if memories[keys].shape[0] > 0 {
                let scores = memories[keys].times(u)
                let all = ReferenceArray.concatenated([scores, ReferenceArray(repeating: 0, [emptySlots])])
                let p = isLinear ? scores : softmax(all).slice(0..<scores.shape[0])  // (1)
                next = next + memories[values].transposed.times(p)  // (2), (4)
            }
            let free = u.shape[0] - rectifiedUnits
            u = .concatenated([next.slice(0..<free), rectifier(next.slice(free..<u.shape[0]))])
        }
        return u
    }
}

/// How the words of a sentence are weighted (section 4.1).
public enum ReferenceEncoding: Sendable {
    case bag, position
    /// The released program's form, where `places` stands for the length of all sentences and temporal rows are the word at the last place.
    case releasedPosition(places: Int)

    /// The weights of word j of J, [D]; j and the columns k count from 1.
    func weights(_ j: Int, of count: Int, width: Int) -> ReferenceArray {
        let (d, j) = (Double(width), Double(j))
        let columns = (1...width).map(Double.init)
        switch self {
        case .bag: return ReferenceArray(repeating: 1, [width])
        case .position: return ReferenceArray(columns.map { (1 - j / Double(count)) - $0 / d * (1 - 2 * j / Double(count)) }, [width])
        case .releasedPosition(let places):
            let (all, j) = (Double(places), min(j, Double(places)))
            return ReferenceArray(columns.map { 1 + 4 * ($0 - (d + 1) / 2) * (j - (all + 1) / 2) / (d * all) }, [width])
        }
    }

    /// The weighted sum of a sentence's rows of a table [V, D], plus the row of its age where there is one.
    public func sum(_ sentence: [Int], _ words: ReferenceArray, time: ReferenceArray? = nil) -> ReferenceArray {
        let width = words.shape[1]
        var result = ReferenceArray(repeating: 0, [width])
        for (place, word) in sentence.enumerated() { result = result + weights(place + 1, of: sentence.count, width: width) * words[word] }
        guard let time else { return result }
        guard case .releasedPosition(let places) = self else { return result + time }
        return result + weights(places, of: places, width: width) * time
    }
}

/// The states of a text at its last T positions, [T, D]: at each one the memory is the word there and the M - 1 words before it, each a sentence of
/// its own (section 5).
///
/// - Parameters:
///   - words: the rows of the S words in each table, [S, D].
///   - times: temporal rows of each table, [M, D]; row a - 1 for age a, which is 1 at the position itself.
///   - empty: the first words that are none.
///   - firstState: of every unit.
public func slidingMemory(
    _ hops: ReferenceHops, words: [ReferenceArray], times: [ReferenceArray], positions: Int, empty: Int, firstState: Double = 0.1
) -> ReferenceArray {
    let (count, width, window) = (words[0].shape[0], words[0].shape[1], times[0].shape[0])
    return .stacked(
        (count - positions..<count).map { last in
            let seen = max(last - window + 1, empty)..<max(last + 1, empty)
            let memories = zip(words, times).map { words, times in
                words.slice(seen, axis: 0) + ReferenceArray(seen.flatMap { times[last - $0].values }, [seen.count, width])
            }
            return hops.run(ReferenceArray(repeating: firstState, [width]), memories)
        })
}
