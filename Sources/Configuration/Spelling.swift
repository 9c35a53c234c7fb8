// Which known word a misspelt one was meant to be.

/// Finds the nearest of a few known words.
public enum Spelling {
    /// The candidates ordered by their distance from `word`, nearest first; equal distances keep the order given.
    ///
    /// Upper and lower case count as equal, since `learningrate` is a likelier slip than any other.
    /// - Complexity: O(word × candidate) character comparisons for each candidate.
    public static func ranked(_ candidates: [String], nearestTo word: String) -> [String] {
        let lowered = Array(word.lowercased())
        return candidates.enumerated()
            .map { (index: $0.offset, text: $0.element, distance: distance(lowered, Array($0.element.lowercased()))) }
            .sorted { ($0.distance, $0.index) < ($1.distance, $1.index) }
            .map(\.text)
    }

    /// The nearest candidate, or `nil` when even that one differs in more than a third of its characters (two for short words).
    public static func likelyMeaning(of word: String, among candidates: [String]) -> String? {
        guard let nearest = ranked(candidates, nearestTo: word).first else { return nil }
        let longer = max(word.count, nearest.count)
        let limit = longer <= 3 ? 1 : max(2, longer / 3)
        return distance(Array(word.lowercased()), Array(nearest.lowercased())) <= limit ? nearest : nil
    }

    /// The Damerau-Levenshtein distance in its restricted form: insertions, deletions, substitutions and exchanges of two
    /// neighbouring characters, no character being edited twice.
    package static func distance(_ first: [Character], _ second: [Character]) -> Int {
        if first.isEmpty || second.isEmpty { return max(first.count, second.count) }
        var beforePrevious = [Int]()
        var previous = Array(0...second.count)
        for i in 1...first.count {
            var current = [i]
            for j in 1...second.count {
                let substitution = previous[j - 1] + (first[i - 1] == second[j - 1] ? 0 : 1)
                var best = min(substitution, previous[j] + 1, current[j - 1] + 1)
                if i > 1, j > 1, first[i - 1] == second[j - 2], first[i - 2] == second[j - 1] {
                    best = min(best, beforePrevious[j - 2] + 1)
                }
                current.append(best)
            }
            (beforePrevious, previous) = (previous, current)
        }
        return previous[second.count]
    }
}
