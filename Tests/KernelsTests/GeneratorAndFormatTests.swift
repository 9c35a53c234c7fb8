// Dropout masks, bfloat16, the update rules' agreement, and the choice of the kernel set.

import Diagnostics
import Foundation
import Kernels
import Synchronization
import Testing

@Suite("Dropout")
struct DropoutTests {
    @Test("a mask is the same on every instruction set, for any split, and by its definition")
    func masks() throws {
        let n = 333
        let key: UInt64 = 0x1234_5678_9ABC_DEF0
        let threshold = UInt32(0.9 * 4_294_967_296)
        let a = (0..<n).map { Float($0 + 1) }
        func finalized(_ word: UInt64) -> UInt64 {
            var z = word
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        for first: UInt64 in [0, 1, 1000, 0xFFFF_FFFD, UInt64.max - 100] {
            let expected = (0..<n).map { index -> Float in
                let counter = first &+ UInt64(index)
                let golden: UInt64 = 0x9E37_79B9_7F4A_7C15
                let word = finalized(finalized(key &+ golden) &+ (counter >> 1) &* golden)
                return UInt32(truncatingIfNeeded: counter & 1 == 0 ? word : word >> 32) < threshold ? a[index] * 2 : 0
            }
            // A mask does not wrap from the last counter to the first.
            let count = first > UInt64.max - 200 ? 100 : n
            for k in Kernels.available {
                for pieces in [[count], [1, count - 1], [16, 17, count - 33], [3, 64, 1, count - 68]] {
                    var out = [Float](repeating: -1, count: count)
                    var sum = [Float](repeating: 1, count: count)
                    var start = 0
                    for piece in pieces {
                        a.withUnsafeBufferPointer { a in
                            out.withUnsafeMutableBufferPointer { out in
                                sum.withUnsafeMutableBufferPointer { sum in
                                    guard let a = a.baseAddress, let out = out.baseAddress, let sum = sum.baseAddress else { return }
                                    k.dropout(
                                        out + start, a + start, key: key, first: first &+ UInt64(start), keepThreshold: threshold, scale: 2, piece)
                                    k.addDropout(
                                        sum + start, sum + start, a + start, key: key, first: first &+ UInt64(start), keepThreshold: threshold, scale: 2, piece)
                                }
                            }
                        }
                        start += piece
                    }
                    #expect(out == Array(expected[..<count]), "\(k.instructionSet), first \(first), pieces \(pieces)")
                    #expect(sum == expected[..<count].map { $0 + 1 }, "\(k.instructionSet), first \(first), pieces \(pieces)")
                }
            }
        }
    }

    @Test("the keep rate, neighbours and keys look random")
    func statistics() {
        let n = 200_000
        let ones = [Float](repeating: 1, count: n)
        let k = Kernels.active
        func mask(_ key: UInt64, _ first: UInt64, _ keep: Double) -> [Float] {
            var out = ones
            k.dropout(&out, ones, key: key, first: first, keepThreshold: UInt32(keep * 4_294_967_296), scale: 1, n)
            return out
        }
        for keep in [0.1, 0.5, 0.9] {
            let deviation = (keep * (1 - keep) / Double(n)).squareRoot()
            for key: UInt64 in [0, 1, 2, 1 << 40] {
                let rate = k.sum(mask(key, key * 77, keep), n) / Double(n)
                #expect(abs(rate - keep) < 4.5 * deviation, "keep \(keep), key \(key): rate \(rate)")
            }
        }
        // Correlations of bits centred at one half: neighbours at several distances, and the same place under neighbouring keys.
        let centred = mask(5, 0, 0.5).map { $0 - 0.5 }
        for distance in [1, 2, 3, 16, 64, 1024] {
            let correlation = centred.withUnsafeBufferPointer { p in
                Double(k.dot(p.baseAddress.unsafelyUnwrapped, p.baseAddress.unsafelyUnwrapped + distance, n - distance)) * 4 / Double(n - distance)
            }
            #expect(abs(correlation) < 4.5 / Double(n).squareRoot(), "distance \(distance): \(correlation)")
        }
        let other = mask(6, 0, 0.5).map { $0 - 0.5 }
        #expect(abs(Double(k.dot(centred, other, n))) * 4 / Double(n) < 4.5 / Double(n).squareRoot())
    }

    @Test("dropped elements are zero whatever they held", arguments: instructionSets)
    func dropsNaN(name: String) throws {
        let k = try kernelSet(name)
        let a = [Float](repeating: .nan, count: 40)
        var out = a
        k.dropout(&out, a, key: 1, first: 3, keepThreshold: 0, scale: 1, 40)
        #expect(out == [Float](repeating: 0, count: 40))
    }
}

@Suite("bfloat16")
struct BFloat16Tests {
    @Test("rounds to nearest even and keeps NaN and infinity", arguments: instructionSets)
    func rounding(name: String) throws {
        let k = try kernelSet(name)
        let cases: [(UInt32, UInt16)] = [
            (0x3F80_0000, 0x3F80), (0x3F80_8000, 0x3F80), (0x3F81_8000, 0x3F82), (0x3F80_8001, 0x3F81), (0x3F80_7FFF, 0x3F80), (0x8000_0000, 0x8000),
            (0x7F80_0000, 0x7F80), (0xFF80_0000, 0xFF80), (0x7F7F_FFFF, 0x7F80), (0x7FC0_0000, 0x7FC0), (0x7F80_0001, 0x7FC0), (0xFFFF_FFFF, 0xFFFF),
            (0x0000_0001, 0x0000), (0x0000_8001, 0x0001),
        ]
        for repeats in [1, 3, 20] {
            let a = (0..<repeats).flatMap { _ in cases.map { Float(bitPattern: $0.0) } }
            var out = [UInt16](repeating: 0, count: a.count)
            k.convert(&out, a, a.count)
            #expect(out == (0..<repeats).flatMap { _ in cases.map(\.1) })
        }
    }

    @Test("every pattern survives the way there and back", arguments: instructionSets)
    func roundTrip(name: String) throws {
        let k = try kernelSet(name)
        let all = (0...UInt16.max).map { $0 }
        var wide = [Float](repeating: 0, count: all.count)
        var narrow = [UInt16](repeating: 0, count: all.count)
        k.convert(&wide, all, all.count)
        k.convert(&narrow, wide, all.count)
        for (pattern, back) in zip(all, narrow) {
            let isNaN = pattern & 0x7FFF > 0x7F80
            #expect(back == (isNaN ? pattern | 0x40 : pattern))
        }
    }
}

@Suite("Choice of the kernel set")
struct SelectionTests {
    @Test("the sets are in order, and the active one is available")
    func available() {
        #expect(!Kernels.available.isEmpty)
        #expect(["sse2", "neon"].contains(Kernels.available[0].instructionSet))
        #expect(instructionSets.contains(Kernels.active.instructionSet))
    }

    @Test("an unknown instruction set is one clear line")
    func unknown() throws {
        try Kernels.validate(instructionSet: nil)
        try Kernels.validate(instructionSet: instructionSets[0])
        let error = #expect(throws: UserError.self) { try Kernels.validate(instructionSet: "mmx") }
        #expect(error?.exitCode == .configuration)
        #expect(error?.description.contains("MNEME_INSTRUCTION_SET") == true)
        #expect(error?.description.contains("mmx") == true)
    }

    #if arch(x86_64)
        @Test("denormals are flushed in the thread that asks")
        func denormals() {
            let finished = DispatchSemaphore(value: 0)
            let isFlushed = Mutex(false)
            Thread {
                Kernels.flushDenormals()
                let a = [Float](repeating: 1e-20, count: 20)
                var out = a
                Kernels.active.multiply(&out, a, a, 20)
                isFlushed.withLock { $0 = out.allSatisfy { $0 == 0 } }
                finished.signal()
            }.start()
            finished.wait()
            #expect(isFlushed.withLock { $0 })
            let a = [Float](repeating: 1e-20, count: 20)
            var out = a
            Kernels.active.multiply(&out, a, a, 20)
            #expect(out.allSatisfy { $0 > 0 })
        }
    #endif
}
