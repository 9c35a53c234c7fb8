// Several inputs read one after another.

/// Reads parts in order and opens each when the one before it is at its end, so at most one is open.
final class ConcatenatedReader: CorpusReader {
    let isPaired: Bool
    let labels: [String] = []
    private var parts: [() throws -> any CorpusReader]
    private var nextPart = 0
    private var current: (any CorpusReader)?

    init(isPaired: Bool, parts: [() throws -> any CorpusReader]) {
        self.isPaired = isPaired
        self.parts = parts
    }

    func next() throws -> CorpusRecord? {
        while true {
            if let record = try current?.next() { return record }
            current = nil
            if nextPart == parts.count { return nil }
            current = try parts[nextPart]()
            nextPart += 1
        }
    }
}
