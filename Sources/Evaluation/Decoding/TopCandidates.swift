// The best few of many values.

/// The largest of many values, found in one pass: a heap with the smallest of them on top.
struct TopCandidates {
    /// The values kept so far, in heap order, with where they came from. Of equal values the one with the lower origin is kept.
    private(set) var elements: [(value: Double, origin: Int)] = []
    private let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
        elements.reserveCapacity(capacity)
    }

    /// When values come in the order of their origins, only those above this can be kept.
    var threshold: Double { elements.count < capacity ? -.infinity : elements[0].value }

    /// Keeps the value if it is among the largest so far.
    mutating func insert(_ value: Double, _ origin: Int) {
        if elements.count < capacity {
            elements.append((value, origin))
            var child = elements.count - 1
            while child > 0, precedes(child, (child - 1) / 2) {
                elements.swapAt(child, (child - 1) / 2)
                child = (child - 1) / 2
            }
            return
        }
        guard let smallest = elements.first, value > smallest.value || (value == smallest.value && origin < smallest.origin) else { return }
        elements[0] = (value, origin)
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < elements.count && precedes(child, least) { least = child }
            if least == parent { return }
            elements.swapAt(parent, least)
            parent = least
        }
    }

    /// The kept values, the largest first; of equals the lowest origin first.
    var descending: [(value: Double, origin: Int)] {
        elements.sorted { $0.value > $1.value || ($0.value == $1.value && $0.origin < $1.origin) }
    }

    /// Whether element a goes nearer the top: smaller, or of equals the one with the higher origin.
    private func precedes(_ a: Int, _ b: Int) -> Bool {
        let (x, y) = (elements[a], elements[b])
        return x.value < y.value || (x.value == y.value && x.origin > y.origin)
    }
}
