// The norm of the whole gradient, and clipping by it (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013).

import Kernels

/// The sums of squared gradients of parts, each summed in float64 in an order of its own: whoever has a part computes the same bits of it.
///
/// - Parameters:
///   - gradients: all gradients, float32.
///   - ranges: where gradients are rows, in rising order: `gradients` are not read there. Ranges without rows may be left out.
///   - parts: what to sum, in elements of `gradients`.
/// - Returns: one sum for each part, bit for bit that of the dense gradients. Not finite where a gradient is NaN or infinite, or beyond 1e19 in
///   magnitude: the caller checks it before the update.
public func gradientSquares(of gradients: UnsafeBufferPointer<Float>, ranges: [ParameterRange] = [], parts: [Range<Int>]) -> [Double] {
    guard let base = gradients.baseAddress else { return parts.map { _ in 0 } }
    precondition(parts.allSatisfy { $0.lowerBound >= 0 && $0.upperBound <= gradients.count }, "a part of more than \(gradients.count) gradients")
    let sparse = ranges.filter { $0.rows != nil }
    return [Double](unsafeUninitializedCapacity: parts.count) { sums, count in
        let target = sums.baseAddress
        Workers.parallel(parts.count, minimum: 32) { range in
            for index in range { target?[index] = sumOfSquares(base, parts[index], sparse) }
        }
        count = parts.count
    }
}

/// The L2 norm of scale * gradients, summed over parts of 65,536 in their order.
///
/// - Parameters:
///   - gradients: all gradients, float32.
///   - ranges: as for ``gradientSquares(of:ranges:parts:)``.
///   - scale: what the gradients will be multiplied by before the update.
public func gradientNorm(of gradients: UnsafeBufferPointer<Float>, ranges: [ParameterRange] = [], scale: Double = 1) -> Double {
    let part = 1 << 16
    let parts = stride(from: 0, to: gradients.count, by: part).map { $0..<min($0 + part, gradients.count) }
    return gradientSquares(of: gradients, ranges: ranges, parts: parts).reduce(0, +).squareRoot() * abs(scale)
}

/// The sum of squares of a part, in the order in which the kernel adds: spans of 4,096 elements in float64.
private func sumOfSquares(_ gradients: UnsafePointer<Float>, _ part: Range<Int>, _ sparse: [ParameterRange]) -> Double {
    let sparse = sparse.filter { $0.offset < part.upperBound && part.lowerBound < $0.offset + $0.count }
    if sparse.isEmpty { return Kernels.active.sumOfSquares(gradients + part.lowerBound, part.count) }
    let span = 1 << 12
    var (total, position) = (0.0, part.lowerBound)
    while position < part.upperBound {
        let end = min(position + span, part.upperBound)
        if let range = sparse.first(where: { $0.offset <= position && end <= $0.offset + $0.count }), let rows = range.rows {
            // Spans without a row add 0: go to the one in which the next row begins.
            let next = rows.first(behind: position - range.offset)
            let start = next < rows.count ? range.offset + rows.start(next) : range.offset + range.count
            if min(start, part.upperBound) >= end {
                position += max(1, (min(start, part.upperBound) - position) / span) * span
                continue
            }
        }
        total += spanSumOfSquares(gradients, position..<end, sparse)
        position = end
    }
    return total
}

/// The sum of squares of at most 4,096 elements of which some are rows, or zero.
///
/// The kernel adds to its lanes in turns that begin anew every 64 elements. A group of 64 zeros changes no lane, so it is left out, but for a last group
/// that is not full: it decides whose turn was the last.
private func spanSumOfSquares(_ gradients: UnsafePointer<Float>, _ span: Range<Int>, _ sparse: [ParameterRange]) -> Double {
    let group = 64
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: 1 << 12) { buffer in
        guard let compact = buffer.baseAddress else { return 0 }
        var (filled, last) = (0, -1)
        func open(_ number: Int) {
            if number == last { return }
            (compact + filled).update(repeating: 0, count: group)
            (filled, last) = (filled + group, number)
        }
        /// Copies `count` elements that stand at `place` of the span, or those of them that are in it.
        func place(_ source: UnsafePointer<Float>, at place: Int, _ count: Int) {
            var position = max(place, 0)
            let end = min(place + count, span.count)
            while position < end {
                open(position / group)
                let stop = min(end, (position / group + 1) * group)
                (compact + (filled - group + position % group)).update(from: source + (position - place), count: stop - position)
                position = stop
            }
        }
        var position = span.lowerBound
        for range in sparse {
            guard let rows = range.rows, range.offset < span.upperBound, span.lowerBound < range.offset + range.count else { continue }
            if position < range.offset { place(gradients + position, at: position - span.lowerBound, range.offset - position) }
            var next = rows.first(behind: max(position - range.offset, 0))
            while next < rows.count, range.offset + rows.start(next) < span.upperBound {
                place(rows.gradients(next), at: range.offset + rows.start(next) - span.lowerBound, rows.width)
                next += 1
            }
            position = range.offset + range.count
        }
        if position < span.upperBound { place(gradients + position, at: position - span.lowerBound, span.upperBound - position) }
        if span.count % group > 0 {
            open(span.count / group)
            filled -= group - span.count % group
        }
        return Kernels.active.sumOfSquares(compact, filled)
    }
}

/// What to multiply gradients by so that their norm is at most `clip`: min(1, clip / (norm + 1e-6)), as PyTorch's clip_grad_norm_.
///
/// - Parameters:
///   - norm: the L2 norm of all gradients.
///   - clip: the largest norm, 0 for no clipping.
/// - Returns: the factor; NaN where the norm is NaN, 0 where it is infinite.
public func clipFactor(norm: Double, clip: Double) -> Double {
    if clip == 0 { return 1 }
    let factor = clip / (norm + 1e-6)
    return factor > 1 ? 1 : factor
}
