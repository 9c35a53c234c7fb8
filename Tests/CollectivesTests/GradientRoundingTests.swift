// Sums along the tree whose nodes are rounded: the definition, the same bits on any number of ranks, error feedback, and what travels.

import Collectives
import Diagnostics
import Foundation
import Testing
import TestSupport

@Suite struct GradientRoundingTests {
    /// Parts of odd sizes: blocks of 32 and shorter ones.
    private static let parts: [Range<Int>] = {
        var first = 0
        return [1, 5, 32, 33, 64, 31, 700, 4096, 3, 95].map { count in
            defer { first += count }
            return first..<first + count
        }
    }()
    private static let length = parts.last?.upperBound ?? 0
    /// Two parameters, with memory behind the first that belongs to none.
    private static let parameters = [0..<160, 166..<length]

    private static func value(_ group: Int, _ step: Int, _ index: Int) -> Float {
        // The memory between two parameters holds zeros.
        if (160..<166).contains(index) { return 0 }
        return roughValue(group + 97 * step, index)
    }

    /// What one rank has after some steps.
    private struct Outcome: Sendable, Equatable {
        /// Of each step, as bits; in a reduce-scatter those of the rank's own part, and zeros.
        var sums: [[UInt32]] = []
        /// Of each group, by its place in the tree: the bits of both parameters.
        var residuals: [Int: [UInt32]] = [:]
        var bytesSent = 0
    }

    /// Counts what is sent.
    private final class CountingCommunicator: ForwardingCommunicator {
        var bytes = 0

        override func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
            bytes += outgoing.reduce(0) { $0 + $1.bytes.count }
            return try super.startMessages(outgoing, incoming, tag: tag)
        }
    }

    private static func steps(
        _ communicator: any Communicator, _ format: GradientFormat, _ combination: GradientCombination = .sum, groupCount: Int, count: Int = 3,
        scattered: Bool = false, value: (_ group: Int, _ step: Int, _ index: Int) -> Float = value
    ) throws -> Outcome {
        let communicator = CountingCommunicator(communicator)
        let tree = try ReproducibleTree(groupCount: groupCount, size: communicator.size)
        let places = tree.places(ofRank: communicator.rank)
        let accumulator = tree.accumulator(ofRank: communicator.rank, elementCount: length)
        let residuals = format.hasFeedback ? GradientResiduals(groupCount: places.count, parameters: parameters) : nil
        var rounding = GradientRounding(format, combination, parts: parts, residuals: residuals)
        var outcome = Outcome()
        for step in 1...count {
            rounding.step = step
            var gradients = [Float](repeating: 0, count: length)
            try gradients.withUnsafeMutableBufferPointer { gradients in
                let groups = tree.groups(ofRank: communicator.rank)
                for (position, group) in groups.enumerated() {
                    for index in 0..<length { gradients[index] = value(group, step, index) }
                    if position < groups.count - 1 { accumulator.add(gradients, rounding) }
                }
                // Two buckets, the later elements first.
                let cut = parts[6].lowerBound
                for range in [cut..<length, 0..<cut] {
                    accumulator.addLast(gradients, range, rounding)
                    let part = UnsafeMutableBufferPointer(rebasing: gradients[range])
                    let partials = accumulator.partials(range)
                    guard scattered else {
                        try tree.startAllReduce(part, of: range, partials: partials, rounding: rounding, communicator: communicator).wait()
                        continue
                    }
                    let cuts = parts.map(\.lowerBound)
                    try tree.startReduceScatter(part, of: range, cuts: cuts, partials: partials, rounding: rounding, communicator: communicator).wait()
                    let own = tree.part(ofRank: communicator.rank, of: range, cuts: cuts)
                    for index in range where !own.contains(index) { gradients[index] = 0 }
                }
                accumulator.endStep()
            }
            outcome.sums.append(gradients.map(\.bitPattern))
        }
        if let residuals {
            for (row, place) in places.enumerated() {
                outcome.residuals[place] = parameters.indices.flatMap { parameter in
                    residuals.memory(ofParameter: parameter)[row * parameters[parameter].count..<(row + 1) * parameters[parameter].count].map(\.bitPattern)
                }
            }
        }
        outcome.bytesSent = communicator.bytes
        return outcome
    }

    @Test(
        "the same bits on any number of ranks, residuals included, for whole sums and shares of them",
        arguments: GradientFormat.allCases.map { ($0, .sum) } + [(.float32, .adasum)] as [(GradientFormat, GradientCombination)])
    func sameBits(format: GradientFormat, combination: GradientCombination) throws {
        let alone = try Self.steps(SingleProcess(), format, combination, groupCount: 8)
        #expect(alone.sums.joined().contains { $0 != 0 })
        for size in 2...8 {
            for scattered in [false, true] {
                let several = try LoopbackCommunicator.run(size: size) { try Self.steps($0, format, combination, groupCount: 8, scattered: scattered) }
                let residuals = several.reduce(into: [:]) { $0.merge($1.residuals) { own, _ in own } }
                #expect(residuals == alone.residuals, "\(size) ranks")
                if scattered {
                    for step in alone.sums.indices {
                        // Every element has one owner: the others have zeros there.
                        let whole = (0..<Self.length).map { index in several.reduce(0) { $0 | $1.sums[step][index] } }
                        #expect(whole == alone.sums[step], "\(size) ranks, shares")
                    }
                } else {
                    #expect(several.allSatisfy { $0.sums == alone.sums }, "\(size) ranks")
                }
            }
        }
    }

    @Test("adaptive sums: the equation in Double, part by part, along the tree") func adaptiveSums() throws {
        func combined(_ a: ArraySlice<Double>, _ b: ArraySlice<Double>) -> [Double] {
            func product(_ x: ArraySlice<Double>, _ y: ArraySlice<Double>) -> Double { zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } }
            let (ofA, ofB) = (1 - product(a, b) / (2 * product(a, a)), 1 - product(a, b) / (2 * product(b, b)))
            return zip(a, b).map { ofA * $0 + ofB * $1 }
        }
        var rows = (0..<8).map { group in (0..<Self.length).map { Double(Self.value(group, 1, $0)) } }
        while rows.count > 1 {
            let half = rows.count / 2
            rows = (0..<half).map { group in Self.parts.flatMap { combined(rows[group][$0], rows[group + half][$0]) } }
        }
        let sums = try Self.steps(SingleProcess(), .float32, .adasum, groupCount: 8, count: 1).sums[0].map { Double(Float(bitPattern: $0)) }
        for part in Self.parts {
            let size = rows[0][part].map(abs).max() ?? 0
            #expect(zip(sums[part], rows[0][part]).allSatisfy { abs($0 - $1) <= 1e-5 * size }, "elements \(part)")
        }
    }

    @Test("adaptive sums: what all groups have in common counts once, what is orthogonal is added, zeros change nothing, NaN comes through")
    func adaptiveProperties() throws {
        func sums(_ value: (_ group: Int, _ step: Int, _ index: Int) -> Float) throws -> [Float] {
            try Self.steps(SingleProcess(), .float32, .adasum, groupCount: 4, count: 1, value: value).sums[0].map { Float(bitPattern: $0) }
        }
        let common = (0..<Self.length).map { Self.value(3, 1, $0) }
        #expect(try sums { _, _, index in common[index] } == common)
        // Each element is one group's alone, or nobody's.
        #expect(try sums { group, _, index in index % 5 == group ? common[index] : 0 } == common.enumerated().map { $0.offset % 5 == 4 ? 0 : $0.element })
        #expect(try sums { group, _, index in group == 2 ? common[index] : 0 } == common)
        let broken = try sums { group, _, index in group == 1 && index == 50 ? .nan : common[index] }
        #expect(Self.parts.filter { broken[$0].contains(where: \.isNaN) } == Self.parts.filter { $0.contains(50) })
    }

    /// To nearest even with 8 bits, in other words than the program's.
    private static func nearest(_ value: Float) -> Float {
        if value == 0 { return value }
        let unit = Double(sign: .plus, exponent: Int(value.exponent) - 7, significand: 1)
        return Float((Double(value) / unit).rounded(.toNearestOrEven) * unit)
    }

    @Test("bfloat16: every node of the tree is rounded to nearest even") func bfloat16() throws {
        var rows = (0..<8).map { group in (0..<Self.length).map { Self.nearest(Self.value(group, 1, $0)) } }
        while rows.count > 1 {
            let half = rows.count / 2
            rows = (0..<half).map { group in zip(rows[group], rows[group + half]).map { Self.nearest($0 + $1) } }
        }
        #expect(try Self.steps(SingleProcess(), .bfloat16, groupCount: 8, count: 1).sums[0] == rows[0].map(\.bitPattern))
    }

    @Test("int8: what a block of 32 elements sends are integers of 8 bits times one power of two, and as fine as they can be") func blocks() throws {
        for sums in try Self.steps(SingleProcess(), .int8, groupCount: 4).sums {
            for part in Self.parts {
                for first in stride(from: part.lowerBound, to: part.upperBound, by: 32) {
                    let block = sums[first..<min(first + 32, part.upperBound)].map { Double(Float(bitPattern: $0)) }
                    let largest = block.map(abs).max() ?? 0
                    guard largest > 0 else { continue }
                    var scale = 1.0
                    while largest / scale > 127 { scale *= 2 }
                    while largest / (scale / 2) <= 127 { scale /= 2 }
                    #expect(block.allSatisfy { $0 / scale == ($0 / scale).rounded() })
                }
            }
        }
    }

    @Test("error feedback: what a group has sent and what it has left over are what it had to send") func feedback() throws {
        let count = 20
        let outcome = try Self.steps(SingleProcess(), .int8, groupCount: 1, count: count)
        let residual = try #require(outcome.residuals[0]).map { Double(Float(bitPattern: $0)) }
        for (place, index) in Self.parameters.joined().enumerated() {
            let sent = outcome.sums.reduce(0) { $0 + Double(Float(bitPattern: $1[index])) }
            let had = (1...count).reduce(0) { $0 + Double(Self.value(0, $1, index)) }
            // A float32 sum of a gradient and its residual is off by half a unit of its last place, at most 2^7 here.
            #expect(abs(sent + residual[place] - had) <= Double(count) * 0x1p-17, "element \(index)")
        }
        #expect(residual.contains { $0 != 0 })
    }

    @Test("int8: sums of nodes keep their mean") func unbiased() throws {
        // One large element a block makes the scale so coarse that the others would be rounded to zero every time.
        let (steps, groups) = (4000, 2)
        let tree = try ReproducibleTree(groupCount: groups, size: 1)
        let part = 0..<64
        let accumulator = tree.accumulator(ofRank: 0, elementCount: part.count)
        var rounding = GradientRounding(.int8, parts: [part], residuals: GradientResiduals(groupCount: groups, parameters: [part]))
        var totals = [Double](repeating: 0, count: part.count)
        func gradient(_ index: Int) -> Float { index % 32 == 0 ? 100 : Float(index % 32) * 0.01 }
        for step in 1...steps {
            rounding.step = step
            var gradients = [Float](repeating: 0, count: part.count)
            gradients.withUnsafeMutableBufferPointer { gradients in
                for _ in 0..<groups {
                    for index in part { gradients[index] = gradient(index) }
                    accumulator.add(gradients, rounding)
                }
            }
            for index in part { totals[index] += Double(gradients[index]) }
        }
        // The scale of a sum of 200 is 2, so that a rounding has a standard deviation of at most 1; four of them are allowed.
        for index in part {
            #expect(abs(totals[index] / Double(steps) - 2 * Double(gradient(index))) < 4 / Double(steps).squareRoot() + 2 / Double(steps), "element \(index)")
        }
    }

    @Test("a number that is not finite makes its block NaN, is not kept, and leaves other blocks alone", arguments: [Float.nan, .infinity, -.infinity])
    func notFinite(wrong: Float) throws {
        let tree = try ReproducibleTree(groupCount: 1, size: 1)
        let part = 0..<70
        let residuals = GradientResiduals(groupCount: 1, parameters: [part])
        var gradients = part.map { Float($0) * 0.37 }
        let accumulator = tree.accumulator(ofRank: 0, elementCount: part.count)
        let rounding = GradientRounding(.int8, parts: [part], residuals: residuals)
        gradients.withUnsafeMutableBufferPointer { _ = accumulator.add($0, rounding) }
        let before = Array(residuals.memory(ofParameter: 0))
        gradients = part.map { Float($0) * 0.37 }
        gradients[40] = wrong
        gradients.withUnsafeMutableBufferPointer { _ = accumulator.add($0, rounding) }
        #expect(gradients.indices.allSatisfy { gradients[$0].isNaN == (32..<64).contains($0) })
        let after = Array(residuals.memory(ofParameter: 0))
        #expect(after[32..<64] == before[32..<64] && after[..<32] != before[..<32])
    }

    @Test("extreme values survive: the smallest, the largest, and blocks of zeros") func extremes() throws {
        let part = 0..<96
        var gradients = [Float](repeating: 0, count: 96)
        for index in 0..<32 { gradients[index] = .leastNormalMagnitude * Float(index) }
        for index in 32..<64 { gradients[index] = 0x1.fcp127 * (index % 2 == 0 ? 1 : -0.5) }
        let given = gradients
        let residuals = GradientResiduals(groupCount: 1, parameters: [part])
        let accumulator = try ReproducibleTree(groupCount: 1, size: 1).accumulator(ofRank: 0, elementCount: part.count)
        let rounding = GradientRounding(.int8, parts: [part], residuals: residuals)
        gradients.withUnsafeMutableBufferPointer { _ = accumulator.add($0, rounding) }
        let left = Array(residuals.memory(ofParameter: 0))
        #expect(gradients.allSatisfy(\.isFinite) && left.allSatisfy(\.isFinite))
        let isWhole = gradients.indices.allSatisfy { (index: Int) -> Bool in Double(gradients[index]) + Double(left[index]) == Double(given[index]) }
        #expect(isWhole && left.count == gradients.count && given.count == gradients.count)
        #expect(gradients[64...].allSatisfy { $0 == 0 })
    }

    @Test("bfloat16 sends half the bytes, int8 a byte an element and one a block") func bytes() throws {
        func sent(_ format: GradientFormat) throws -> Int {
            try LoopbackCommunicator.run(size: 4) { try Self.steps($0, format, groupCount: 8, count: 1) }.reduce(0) { $0 + $1.bytesSent }
        }
        let whole = try sent(.float32)
        // Each rank sends half of the elements and a quarter, out and back.
        #expect(whole == 4 * 4 * 2 * (Self.length / 2 + Self.length / 4) || abs(whole - 24 * Self.length) < 200)
        #expect(try 2 * sent(.bfloat16) == whole)
        let blocks = Double(try sent(.int8))
        #expect(blocks > 0.25 * Double(whole) && blocks < 0.30 * Double(whole), "\(blocks) of \(whole)")
    }
}
