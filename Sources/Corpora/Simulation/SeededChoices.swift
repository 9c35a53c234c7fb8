// Random choices that depend on a seed alone, on every machine and with every version of the standard library.

/// A SplitMix64 generator (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") with the choices that stories need.
public struct SeededChoices: Sendable {
    private var state: UInt64

    /// A generator for one purpose: `path` says which, so that different purposes of one seed give unrelated streams.
    package init(seed: UInt64, path: [UInt64] = []) {
        state = Self.mix(seed &+ Self.increment)
        for part in path { state = Self.mix(state ^ Self.mix(part &+ Self.increment)) }
    }

    private static let increment: UInt64 = 0x9e37_79b9_7f4a_7c15

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    private mutating func next() -> UInt64 {
        state &+= Self.increment
        return Self.mix(state)
    }

    /// A number from 0 ..< bound, all equally likely (Lemire 2019, by multiplication; the bias of 2^-64 times the bound is let stand).
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "a choice needs at least one alternative")
        return Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// True once in `denominator` times `numerator`.
    package mutating func chance(_ numerator: Int, in denominator: Int) -> Bool { below(denominator) < numerator }

    /// One element.
    package mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

    /// One element, or `nil` of none.
    package mutating func pickIfAny<Element>(_ elements: [Element]) -> Element? { elements.isEmpty ? nil : pick(elements) }

    /// The elements in random order (Fisher and Yates).
    package mutating func shuffled<Element>(_ elements: [Element]) -> [Element] {
        var result = elements
        for i in stride(from: result.count - 1, to: 0, by: -1) { result.swapAt(i, below(i + 1)) }
        return result
    }

    /// `count` different elements in random order.
    package mutating func sample<Element>(_ elements: [Element], _ count: Int) -> [Element] { Array(shuffled(elements).prefix(count)) }
}
