// The part of the reproducible tree that is local to a rank.
//
// Legend: K groups of the rank.

/// Adds the gradients of one rank's groups as they come, with about log2 K buffers besides the gradients' own.
///
/// It counts in binary: what it holds are the nodes of the tree that the groups so far make up, and a new group is added to those that it
/// completes. The last group may come in parts, as a backward pass finishes them.
public final class GroupAccumulator {
    /// K, the number of groups that one step brings.
    public var groupCount: Int { merges.count }
    private let elementCount: Int
    /// With how many of the newest partial sums each group is added.
    private let merges: [Int]
    /// How many partial sums there are before each group.
    private let held: [Int]
    /// The place of the rank's first group in the tree's order.
    private let first: Int
    private var sums: [UnsafeMutableBufferPointer<Float>] = []
    /// Groups that are complete.
    private var added = 0

    /// - Parameters:
    ///   - places: of the rank's groups in the tree's order.
    ///   - elementCount: the length of the flat gradient buffer.
    init(places: Range<Int>, elementCount: Int) {
        precondition(!places.isEmpty, "no groups")
        self.elementCount = elementCount
        first = places.lowerBound
        (merges, held) = Self.plan(places)
        for _ in 0..<(held.max() ?? 0) {
            let sum = UnsafeMutableBufferPointer<Float>.allocate(capacity: elementCount)
            sum.initialize(repeating: 0)
            sums.append(sum)
        }
    }

    private static func plan(_ places: Range<Int>) -> (merges: [Int], held: [Int]) {
        var (merges, held): ([Int], [Int]) = ([], [0])
        for end in places.lowerBound + 1...places.upperBound {
            let after = TreeNode.covering(places.lowerBound..<end).count
            merges.append(held[held.count - 1] + 1 - after)
            held.append(after)
        }
        return (merges, held.dropLast())
    }

    /// The buffers of gradients that the groups of a rank take.
    static func partialSums(_ places: Range<Int>) -> Int { plan(places).held.max() ?? 0 }

    deinit {
        for sum in sums { sum.deallocate() }
    }

    /// Takes a whole group's gradients. The buffer is free for the next group afterwards; after the last group it holds the last partial sum.
    ///
    /// - Parameters:
    ///   - gradients: float32, `elementCount` elements, overwritten.
    ///   - rounding: what the nodes hold.
    /// - Returns: true after the last of the K groups; the next call begins a new step.
    /// - Complexity: two passes over the buffer a group, on average.
    @discardableResult
    public func add(_ gradients: UnsafeMutableBufferPointer<Float>, _ rounding: GradientRounding = .none) -> Bool {
        precondition(gradients.count == elementCount, "\(gradients.count) gradients, \(elementCount) expected")
        add(gradients, 0..<elementCount, rounding)
        added += 1
        if added < groupCount {
            _ = sums[held[added] - 1].update(fromContentsOf: gradients)
            return false
        }
        added = 0
        return true
    }

    /// Takes a part of the last group's gradients: to be called for parts that make up the whole, followed by ``endStep()``.
    ///
    /// - Parameters:
    ///   - gradients: float32, the whole buffer, of which the part is overwritten with the last partial sum.
    ///   - range: the part.
    ///   - rounding: what the nodes hold.
    public func addLast(_ gradients: UnsafeMutableBufferPointer<Float>, _ range: Range<Int>, _ rounding: GradientRounding = .none) {
        precondition(added == groupCount - 1, "\(added) of \(groupCount) groups came before the last one")
        add(gradients, range, rounding)
    }

    /// Ends a step whose last group came in parts.
    public func endStep() { added = 0 }

    /// This rank's partial sums before the last, of a part of the elements, once the last group has been added.
    public func partials(_ range: Range<Int>) -> [UnsafeMutablePointer<Float>] {
        let count = held[groupCount - 1] - merges[groupCount - 1]
        return sums[..<count].compactMap { $0.baseAddress.map { $0 + range.lowerBound } }
    }

    private func add(_ gradients: UnsafeMutableBufferPointer<Float>, _ range: Range<Int>, _ rounding: GradientRounding) {
        guard let base = gradients.baseAddress else { return }
        rounding.roundGroup(base, range, group: added)
        var node = TreeNode(first: first + added, height: 0)
        for merge in 0..<merges[added] {
            guard let sum = sums[held[added] - 1 - merge].baseAddress else { return }
            node = TreeNode(first: node.first - 1 << node.height, height: node.height + 1)
            rounding.add(sum + range.lowerBound, to: base + range.lowerBound, range, node: node)
        }
    }
}
