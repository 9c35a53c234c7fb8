// A loader whose batches are made of another's.

/// The batches of a loader in another form; order and position are the loader's own.
public final class MappedLoader<Base: LaneLoader, Batch>: LaneLoader {
    private let base: Base
    private let transform: (_ base: Base, _ lanes: [Int]) throws -> Batch

    /// - Parameter transform: the base's present batch for some lanes, in the form wanted.
    public init(_ base: Base, _ transform: @escaping (_ base: Base, _ lanes: [Int]) throws -> Batch) {
        self.base = base
        self.transform = transform
    }

    public var laneCount: Int { base.laneCount }
    public var position: LoaderPosition { base.position }
    public func seek(to position: LoaderPosition) throws { try base.seek(to: position) }
    public func batch(lanes: [Int]) throws -> Batch { try transform(base, lanes) }
    public func advance() throws { try base.advance() }
}
