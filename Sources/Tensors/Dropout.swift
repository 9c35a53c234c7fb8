// Dropout whose mask is a function of step, lane and site, so that it does not depend on which rank runs the lane.
//
// Legend: B lanes in this batch, everything after the first axis belongs to one lane.

import Kernels

/// Where in a run a forward pass stands: what its dropout masks are a function of.
///
/// Each `dropout` takes the next site number, so a model's masks follow from the order of its layers.
public final class DropoutContext {
    /// The global lane number of each row of the batch.
    public let lanes: [Int]
    private let key: UInt64
    private var site: UInt64 = 0

    /// - Parameters:
    ///   - seed: the run's seed.
    ///   - step: the training step.
    ///   - lanes: the global lane of each of the batch's B rows.
    public init(seed: UInt64, step: Int, lanes: [Int]) {
        key = mixKeys(seed, 0xD409_0AB5, UInt64(step))
        self.lanes = lanes
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
        precondition(rate >= 0 && rate < 1, "a dropout rate is in 0 ..< 1, not \(rate)")
        keepThreshold = UInt32((1 - Double(rate)) * 4_294_967_295)
        scale = 1 / (1 - rate)
    }
}

/// Sets each element to zero with probability `rate` and divides the others by 1 - rate (Srivastava et al. 2014).
///
/// - Parameters:
///   - x: [B, ...], B as many as `context.lanes`.
///   - rate: 0 ..< 1; 0 returns x.
///   - context: `nil` (evaluation) returns x.
public func dropout(_ x: Tensor, rate: Float, _ context: DropoutContext?) -> Tensor {
    guard rate > 0, let context else { return x }
    let mask = DropoutMask(x.shape, rate: rate, context)
    let y = Tensor(uninitialized: x.shape)
    mask.apply(y.floats, x.floats)
    return Tape.record(y, from: x) { gradient in
        x.node?.withGradient { target, accumulate in mask.apply(target, gradient.floats, accumulate: accumulate) }
    }
}

/// residual + dropout(x), one operation.
///
/// - Parameters:
///   - residual, x: [B, ...].
///   - rate, context: as `dropout`; without dropout this is an addition.
public func addDropout(_ residual: Tensor, _ x: Tensor, rate: Float, _ context: DropoutContext?) -> Tensor {
    precondition(residual.shape == x.shape, "addDropout: shapes \(residual.shape) and \(x.shape)")
    let y = Tensor(uninitialized: x.shape)
    guard rate > 0, let context else {
        kernels.add(y.floats, residual.floats, x.floats, x.count)
        return Tape.record(y, from: residual, x) { gradient in
            residual.node?.accumulate(gradient)
            x.node?.accumulate(gradient)
        }
    }
    let mask = DropoutMask(x.shape, rate: rate, context)
    y.floats.update(from: residual.floats, count: x.count)
    mask.apply(y.floats, x.floats, accumulate: true)
    return Tape.record(y, from: residual, x) { gradient in
        x.node?.withGradient { target, accumulate in mask.apply(target, gradient.floats, accumulate: accumulate) }
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
        precondition(shape.rank > 0 && shape[0] == keys.count, "dropout: \(keys.count) lanes for shape \(shape)")
        laneCount = shape.count / max(keys.count, 1)
        self.rate = DropoutRate(rate)
    }

    func apply(_ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, accumulate: Bool = false) {
        for (lane, key) in keys.enumerated() {
            apply(out + lane * laneCount, x + lane * laneCount, key: key, first: 0, laneCount, accumulate: accumulate)
        }
    }

    /// The part of lane `lane`'s mask that starts at its element `first`.
    func apply(_ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, lane: Int, first: Int, _ count: Int) {
        apply(out, x, key: keys[lane], first: first, count, accumulate: false)
    }

    private func apply(_ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, key: UInt64, first: Int, _ count: Int, accumulate: Bool) {
        if accumulate {
            kernels.addDropout(out, x, key: key, first: UInt64(first), keepThreshold: rate.keepThreshold, scale: rate.scale, count)
        } else {
            kernels.dropout(out, x, key: key, first: UInt64(first), keepThreshold: rate.keepThreshold, scale: rate.scale, count)
        }
    }
}
