// What hands out batches lane by lane.

/// Targets with this value count neither for the loss nor for any metric.
public let ignoredTarget: Int32 = -1

/// A source of batches: an order over data, divided into lanes.
///
/// The batches depend on the data, the seed and the number of lanes, never on which rank asks for which lanes.
public protocol LaneLoader<Batch>: AnyObject {
    associatedtype Batch
    /// L: lanes are 0 ..< this.
    var laneCount: Int { get }
    /// Where the loader stands: a value to save, and to give to `seek` later.
    var position: LoaderPosition { get }
    /// Goes to a saved position.
    /// - Throws: `UserError(.configuration)` where the position does not fit this loader.
    func seek(to position: LoaderPosition) throws
    /// The rows of the present step for some lanes, in the order given.
    /// - Throws: `UserError` where a shard is damaged or missing.
    func batch(lanes: [Int]) throws -> Batch
    /// Moves on to the next step.
    /// - Throws: as `batch`.
    func advance() throws
}
