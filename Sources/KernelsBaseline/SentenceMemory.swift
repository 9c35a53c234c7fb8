// Memories whose slots are bags of table rows: weighted sums, one read by a query, and their gradients.
//
// Legend: D width of a slot, a multiple of 16, so that no row has a remainder; T tables side by side; n slots.

import KernelTypes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The product of two rows of D elements.
@_transparent
private func product(_ a: FloatInput, _ b: FloatInput, _ columns: Int) -> Float {
    var sum = Vector.zero
    for i in FullBlocks(blocks(columns)) { sum = multiplyAdd(load(a + i.offset), load(b + i.offset), sum) }
    return laneSum(sum)
}

/// scores[i] = query * row i, i < n.
@inline(__always)
private func storeProducts(_ scores: FloatOutput, _ query: FloatInput, _ rows: FloatInput, _ stride: Int, _ n: Int, _ columns: Int) {
    for i in 0..<n { scores[i] = product(query, rows + i &* stride, columns) }
}

/// out += the sum of weights[i] * row i, i < n.
@inline(__always)
private func addWeightedRows(_ out: FloatOutput, _ weights: FloatInput, _ rows: FloatInput, _ stride: Int, _ n: Int, _ columns: Int) {
    var first = 0
    while first &+ 2 &* laneCount <= columns {
        var (s0, s1) = (load(out + first), load(out + (first &+ laneCount)))
        var (t0, t1) = (Vector.zero, Vector.zero)
        var row = rows + first
        for i in 0..<n / 2 {
            let (p, q) = (splat(weights[2 &* i]), splat(weights[2 &* i &+ 1]))
            s0 = multiplyAdd(p, load(row), s0)
            s1 = multiplyAdd(p, load(row + laneCount), s1)
            t0 = multiplyAdd(q, load(row + stride), t0)
            t1 = multiplyAdd(q, load(row + (stride &+ laneCount)), t1)
            row += 2 &* stride
        }
        if n % 2 != 0 {
            let p = splat(weights[n &- 1])
            s0 = multiplyAdd(p, load(row), s0)
            s1 = multiplyAdd(p, load(row + laneCount), s1)
        }
        store(out + first, s0 + t0)
        store(out + (first &+ laneCount), s1 + t1)
        first &+= 2 &* laneCount
    }
    while first < columns {
        var sum = load(out + first)
        var row = rows + first
        for i in 0..<n {
            sum = multiplyAdd(splat(weights[i]), load(row), sum)
            row += stride
        }
        store(out + first, sum)
        first &+= laneCount
    }
}

/// Row i (+)= weights[i] * x, i < n.
@inline(__always)
private func spread(_ rows: FloatOutput, _ weights: FloatInput, _ x: FloatInput, _ stride: Int, accumulate: Bool, _ n: Int, _ columns: Int) {
    for i in 0..<n {
        let p = splat(weights[i])
        let row = rows + i &* stride
        if accumulate {
            for c in FullBlocks(blocks(columns)) { store(row + c.offset, multiplyAdd(p, load(x + c.offset), load(row + c.offset))) }
        } else {
            for c in FullBlocks(blocks(columns)) { store(row + c.offset, p * load(x + c.offset)) }
        }
    }
}

extension VariantKernels {
    public func bagSums(
        _ out: FloatOutput, outStride: Int, table: FloatInput, tableStride: Int, rows: UnsafePointer<Int32>, weightRows: UnsafePointer<Int32>,
        offsets: UnsafePointer<Int32>, weights: FloatInput, bags: Int, tables: Int, width columns: Int
    ) {
        for bag in 0..<bags {
            let (first, end) = (Int(offsets[bag]), Int(offsets[bag &+ 1]))
            let target = out + bag &* outStride
            var lane = 0
            while lane < columns {
                var block = 0
                while block &+ 4 <= tables {
                    var (s0, s1, s2, s3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
                    let source = table + (block &* columns &+ lane)
                    for i in first..<end {
                        let w = load(weights + (Int(weightRows[i]) &* columns &+ lane))
                        let row = source + Int(rows[i]) &* tableStride
                        s0 = multiplyAdd(w, load(row), s0)
                        s1 = multiplyAdd(w, load(row + columns), s1)
                        s2 = multiplyAdd(w, load(row + 2 &* columns), s2)
                        s3 = multiplyAdd(w, load(row + 3 &* columns), s3)
                    }
                    let place = target + (block &* columns &+ lane)
                    store(place, s0)
                    store(place + columns, s1)
                    store(place + 2 &* columns, s2)
                    store(place + 3 &* columns, s3)
                    block &+= 4
                }
                while block < tables {
                    var sum = Vector.zero
                    let source = table + (block &* columns &+ lane)
                    for i in first..<end {
                        sum = multiplyAdd(load(weights + (Int(weightRows[i]) &* columns &+ lane)), load(source + Int(rows[i]) &* tableStride), sum)
                    }
                    store(target + (block &* columns &+ lane), sum)
                    block &+= 1
                }
                lane &+= laneCount
            }
        }
    }

    public func bagSumsGradient(
        _ tableGradient: FloatOutput, tableStride: Int, outGradient: FloatInput, outStride: Int, rows: UnsafePointer<Int32>,
        weightRows: UnsafePointer<Int32>, offsets: UnsafePointer<Int32>, weights: FloatInput, bags: Int, tables: Int, width columns: Int
    ) {
        for bag in 0..<bags {
            let (first, end) = (Int(offsets[bag]), Int(offsets[bag &+ 1]))
            let source = outGradient + bag &* outStride
            var lane = 0
            while lane < columns {
                var block = 0
                while block &+ 4 <= tables {
                    let place = source + (block &* columns &+ lane)
                    let (g0, g1) = (load(place), load(place + columns))
                    let (g2, g3) = (load(place + 2 &* columns), load(place + 3 &* columns))
                    let target = tableGradient + (block &* columns &+ lane)
                    for i in first..<end {
                        let w = load(weights + (Int(weightRows[i]) &* columns &+ lane))
                        let row = target + Int(rows[i]) &* tableStride
                        store(row, multiplyAdd(w, g0, load(row)))
                        store(row + columns, multiplyAdd(w, g1, load(row + columns)))
                        store(row + 2 &* columns, multiplyAdd(w, g2, load(row + 2 &* columns)))
                        store(row + 3 &* columns, multiplyAdd(w, g3, load(row + 3 &* columns)))
                    }
                    block &+= 4
                }
                while block < tables {
                    let g = load(source + (block &* columns &+ lane))
                    let target = tableGradient + (block &* columns &+ lane)
                    for i in first..<end {
                        let row = target + Int(rows[i]) &* tableStride
                        store(row, multiplyAdd(load(weights + (Int(weightRows[i]) &* columns &+ lane)), g, load(row)))
                    }
                    block &+= 1
                }
                lane &+= laneCount
            }
        }
    }

    public func readSlots(
        _ out: FloatOutput, probability: FloatOutput, query: FloatInput, keys: FloatInput, values: FloatInput, stride: Int, isLinear: Bool,
        slots n: Int, emptySlots: Int, width columns: Int
    ) {
        storeProducts(probability, query, keys, stride, n, columns)
        if !isLinear {
            let largest = emptySlots > 0 ? largestScaled(probability, scale: 1, n) : 0
            softmax(probability, probability, scale: 1, n)
            if emptySlots > 0 {
                // The largest probability is 1 / z with z the sum of exp(score - largest); every empty slot adds exp(-largest) to z.
                let share = Double(largestScaled(probability, scale: 1, n)) * Double(emptySlots) * exp(-Double(largest))
                affine(probability, probability, scale: Float(1 / (1 + share)), offset: 0, n)
            }
        }
        addWeightedRows(out, probability, values, stride, n, columns)
    }

    public func readSlotsGradient(
        _ queryGradient: FloatOutput, keyGradient: FloatOutput, accumulateKeys: Bool, valueGradient: FloatOutput, accumulateValues: Bool,
        outGradient: FloatInput, probability: FloatInput, scratch: FloatOutput, query: FloatInput, keys: FloatInput, values: FloatInput, stride: Int,
        isLinear: Bool, slots n: Int, width columns: Int
    ) {
        storeProducts(scratch, outGradient, values, stride, n, columns)
        if !isLinear { softmaxGradient(scratch, outputGradient: scratch, probability: probability, scale: 1, n) }
        spread(valueGradient, probability, outGradient, stride, accumulate: accumulateValues, n, columns)
        spread(keyGradient, scratch, query, stride, accumulate: accumulateKeys, n, columns)
        addWeightedRows(queryGradient, scratch, keys, stride, n, columns)
    }
}
