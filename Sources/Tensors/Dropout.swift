// Dropout whose mask is a function of step, lane and site, so that it does not depend on which rank runs the lane.
//
// Legend: B lanes in this batch, everything after the first axis belongs to one lane.

import Diagnostics
import Kernels

/// Where in a run a forward pass stands: what its dropout masks are a function of.
///
/// Each `dropout` takes the next site number, so a model's masks follow from the order of its layers.
public final class DropoutContext {
    /// The global lane number of each row of the batch.
    public let lanes: [Int]
    private let key: UInt64
    /// The number that the next dropout takes.
    public private(set) var site: UInt64 = 0

    /// - Parameters:
    ///   - seed: the run's seed.
    ///   - step: the training step.
    ///   - lanes: the global lane of each of the batch's B rows.
    public init(seed: UInt64, step: Int, lanes: [Int]) {
        key = mixKeys(seed, 0xD409_0AB5, UInt64(step))
        self.lanes = lanes
    }

    private init(key: UInt64, lanes: [Int], site: UInt64) {
        self.key = key
        self.lanes = lanes
        self.site = site
    }

    /// The same context at a site of its own: for computing a part of a pass again.
    public func copy(at site: UInt64) -> DropoutContext { DropoutContext(key: key, lanes: lanes, site: site) }

    /// A context for the next site alone, whose mask all lanes share: for what belongs to none of them, [1, ...].
    public func sharedByLanes() -> DropoutContext {
        defer { site += 1 }
        return DropoutContext(key: key, lanes: [.max], site: site)
    }

    /// Goes on at a later site.
    public func skip(to site: UInt64) {
        require(site >= self.site, "dropout sites only rise")
        self.site = site
    }

    /// One key a lane for the next site.
    func nextSiteKeys() -> [UInt64] {
        defer { site += 1 }
        return lanes.map { mixKeys(key, UInt64($0), site) }
    }
}

/// A dropout rate as the kernels take it.
struct DropoutRate {
    let keepThreshold: UInt32
    let scale: Float

    init(_ rate: Float) {
        require(rate >= 0 && rate < 1, "a dropout rate is in 0 ..< 1, not \(rate)")
        keepThreshold = UInt32((1 - Double(rate)) * 4_294_967_295)
        scale = 1 / (1 - rate)
    }
}

/// Sets each element to zero with probability `rate` and divides the others by 1 - rate (Srivastava et al. 2014).
///
/// - Parameters:
///   - x: [B, ...], B as many as `context.lanes`; float32 or bfloat16.
///   - rate: 0 ..< 1; 0 returns x.
///   - context: `nil` (evaluation) returns x.
public func dropout(_ x: Tensor, rate: Float, _ context: DropoutContext?) -> Tensor {
    guard rate > 0, let context else { return x }
    let mask = DropoutMask(x.shape, rate: rate, context)
    return Operation("dropout").record(mask.applied(to: x, as: x.dataType), from: x) { gradient in
        x.node?.accumulate(mask.applied(to: gradient, as: x.dataType))
    }
}

/// residual + dropout(x), one operation.
///
/// - Parameters:
///   - residual: [B, ...], float32 or bfloat16.
///   - x: [B, ...], float32 or bfloat16.
///   - rate: as `dropout`.
///   - context: as `dropout`; without dropout this is an addition.
/// - Returns: [B, ...], float32.
public func addDropout(_ residual: Tensor, _ x: Tensor, rate: Float, _ context: DropoutContext?) -> Tensor {
    require(residual.shape == x.shape, "addDropout: shapes \(residual.shape) and \(x.shape)")
    let y = Tensor(uninitialized: x.shape)
    guard rate > 0, let context else {
        addElements(y, residual, x)
        return Operation("add dropout").record(y, from: residual, x) { gradient in
            x.node?.accumulate(gradient)
            residual.node?.accumulate(gradient)
        }
    }
    let mask = DropoutMask(x.shape, rate: rate, context)
    mask.add(y, residual, x)
    return Operation("add dropout").record(y, from: residual, x) { gradient in
        if let node = x.node { node.accumulate(mask.applied(to: gradient, as: node.dataType)) }
        residual.node?.accumulate(gradient)
    }
}

/// A mask that is never stored: it is made again from its keys.
struct DropoutMask {
    private let keys: [UInt64]
    private let laneCount: Int
    private let rate: DropoutRate

    init(_ shape: Shape, rate: Float, _ context: DropoutContext) {
        keys = context.nextSiteKeys()
        require(shape.rank > 0 && shape[0] == keys.count, "dropout: \(keys.count) lanes for shape \(shape)")
        laneCount = shape.count / max(keys.count, 1)
        self.rate = DropoutRate(rate)
    }

    /// The masked x as a new tensor. A bfloat16 result of a float32 x is rounded after the scaling.
    func applied(to x: Tensor, as type: DataType) -> Tensor {
        let y = Tensor(uninitialized: x.shape, type)
        let (threshold, scale) = (rate.keepThreshold, rate.scale)
        forEachSpan { key, start, first, count in
            kernels.dropout(y.elements + start, x.elements + start, key: key, first: first, keepThreshold: threshold, scale: scale, count)
        }
        return y
    }

    /// y = residual + masked x; y float32.
    func add(_ y: Tensor, _ residual: Tensor, _ x: Tensor) {
        let (threshold, scale) = (rate.keepThreshold, rate.scale)
        forEachSpan { key, start, first, count in
            kernels.addDropout(
                y.elements + start, residual.elements + start, x.elements + start, key: key, first: first, keepThreshold: threshold, scale: scale,
                count)
        }
    }

    /// Calls `body(key, start, first, count)` for parts of lanes: elements `start ..< start + count` of the tensor, which are those from `first` on
    /// of the lane that has this key.
    private func forEachSpan(_ body: (_ key: UInt64, _ start: Int, _ first: UInt64, _ count: Int) -> Void) {
        guard laneCount > 0 else { return }
        parallelElements(keys.count * laneCount) { begin, count in
            var position = begin
            while position < begin + count {
                let (lane, first) = position.quotientAndRemainder(dividingBy: laneCount)
                let part = min(laneCount - first, begin + count - position)
                body(keys[lane], position, UInt64(first), part)
                position += part
            }
        }
    }
}
