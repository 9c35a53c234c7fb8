// Where a loader stands, as a value that a checkpoint can hold.

/// The position of a loader: what the next batch is made from. It does not depend on the number of ranks.
///
/// Orders that compute every lane's data from a common counter have no lane values; streams have a few for each lane, and a rank knows those
/// of the lanes it owns.
public struct LoaderPosition: Sendable, Codable, Equatable {
    /// Values that are the same on all ranks.
    public var global: [Int64]
    /// Values of each lane that is known here, as many for every lane.
    public var lanes: [Int: [Int64]]

    /// A position; what the values mean is the loader's own.
    public init(global: [Int64], lanes: [Int: [Int64]] = [:]) {
        self.global = global
        self.lanes = lanes
    }

    /// Adds the lanes that another rank knows.
    /// - Precondition: the global values are equal.
    public mutating func merge(_ other: LoaderPosition) {
        precondition(global == other.global, "positions of different steps: \(global) and \(other.global)")
        lanes.merge(other.lanes) { mine, _ in mine }
    }

    /// The position as numbers: the count of global values, the values; the count of lanes, the count of values a lane; then lane by lane
    /// its number and its values, in ascending order of lanes.
    public var encoded: [Int64] {
        let width = lanes.values.first?.count ?? 0
        var numbers = [Int64(global.count)] + global + [Int64(lanes.count), Int64(width)]
        for (lane, values) in lanes.sorted(by: { $0.key < $1.key }) {
            precondition(values.count == width, "lane \(lane) has \(values.count) values, others \(width)")
            numbers.append(Int64(lane))
            numbers += values
        }
        return numbers
    }

    /// Reads what `encoded` gave; `nil` for anything else.
    public init?(encoded numbers: [Int64]) {
        var rest = numbers[...]
        func take(_ count: Int64) -> [Int64]? {
            guard count >= 0, count <= rest.count else { return nil }
            defer { rest = rest.dropFirst(Int(count)) }
            return Array(rest.prefix(Int(count)))
        }
        guard let globalCount = take(1)?.first, let global = take(globalCount), let shape = take(2) else { return nil }
        var lanes: [Int: [Int64]] = [:]
        guard shape[0] >= 0, shape[1] >= 0, shape[0] <= rest.count else { return nil }
        for _ in 0..<shape[0] {
            guard let lane = take(1)?.first, let values = take(shape[1]) else { return nil }
            lanes[Int(lane)] = values
        }
        guard rest.isEmpty, lanes.count == Int(shape[0]) else { return nil }
        self.init(global: global, lanes: lanes)
    }
}
