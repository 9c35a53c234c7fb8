// Matrix products against a naive product in float64, on every backend and with one thread and two; the choice of backends.

import Diagnostics
import Foundation
import Kernels
import Tensors
import TestSupport
import Testing

/// A matrix with room beside its rows, and its values in float64.
private struct PaddedMatrix {
    let tensor: Tensor
    let rows: Int
    let columns: Int
    let leading: Int

    init(_ rows: Int, _ columns: Int, _ type: DataType, key: UInt64) {
        (self.rows, self.columns, leading) = (rows, columns, columns + 3)
        var random = RandomStream(key: key)
        let values = Tensor(uninitialized: [max(1, rows), leading])
        for index in 0..<values.count { values.floats[index] = random.nextUniform() - 0.5 }
        guard type == .bfloat16 else {
            tensor = values
            return
        }
        tensor = Tensor(uninitialized: values.shape, .bfloat16)
        Kernels.active.convert(tensor.elements, values.elements, values.count)
    }

    /// Everything in memory, margins included.
    var all: [Double] {
        let count = tensor.count
        return tensor.dataType == .float32
            ? UnsafeBufferPointer(start: tensor.floats, count: count).map(Double.init)
            : UnsafeBufferPointer(start: tensor.bfloats, count: count).map { Double(Float(bitPattern: UInt32($0) << 16)) }
    }

    func operand(_ transposition: Transposition = .none) -> MatrixOperand { MatrixOperand(tensor, leading: leading, transposition) }

    var result: MatrixResult { MatrixResult(tensor, leading: leading) }

    /// The bytes beside the rows.
    var margin: [Double] {
        let all = all
        return (0..<rows).flatMap { all[$0 * leading + columns..<($0 + 1) * leading] }
    }

    var bytes: [UInt8] { Array(UnsafeRawBufferPointer(start: tensor.bytes, count: tensor.count * tensor.dataType.byteCount)) }
}

private struct ProductCase: CustomTestStringConvertible {
    var m: Int
    var n: Int
    var k: Int
    var operands: DataType
    var result: DataType

    var testDescription: String { "\(operands)-\(result) \(m)x\(n)x\(k)" }

    static let all: [ProductCase] = [
        (1, 1, 1), (3, 5, 7), (1, 70, 33), (17, 33, 65), (64, 64, 64), (70, 129, 257), (300, 150, 100), (150, 300, 101), (5, 7, 0),
    ].flatMap { extents in
        [(DataType.float32, DataType.float32), (.bfloat16, .bfloat16), (.bfloat16, .float32), (.float32, .bfloat16)].map {
            ProductCase(m: extents.0, n: extents.1, k: extents.2, operands: $0.0, result: $0.1)
        }
    }
}

@Suite("Matrix products", .serialized)
struct MatrixProductTests {
    private static let backends = MatrixBackend.allCases.filter(\.isAvailable)

    @Test("agree with a naive product", arguments: ProductCase.all)
    fileprivate func naive(_ test: ProductCase) {
        let (m, n, k) = (test.m, test.n, test.k)
        let bias = Tensor((0..<n).map { Float($0 % 7) * 0.25 - 0.5 }, [n])
        for (transposeA, transposeB) in [
            (Transposition.none, Transposition.none), (.none, .transposed), (.transposed, .none), (.transposed, .transposed),
        ] {
            let a = transposeA == .none ? PaddedMatrix(m, k, test.operands, key: 1) : PaddedMatrix(k, m, test.operands, key: 1)
            let b = transposeB == .none ? PaddedMatrix(k, n, test.operands, key: 2) : PaddedMatrix(n, k, test.operands, key: 2)
            let (valuesOfA, valuesOfB) = (a.all, b.all)
            let (rowOfA, columnOfA) = transposeA == .none ? (a.leading, 1) : (1, a.leading)
            let (rowOfB, columnOfB) = transposeB == .none ? (b.leading, 1) : (1, b.leading)
            var (sums, sizes) = ([Double](repeating: 0, count: m * n), [Double](repeating: 0, count: m * n))
            for row in 0..<m {
                for column in 0..<n {
                    var (sum, size) = (0.0, 0.0)
                    for index in 0..<k {
                        let product = valuesOfA[row * rowOfA + index * columnOfA] * valuesOfB[index * rowOfB + column * columnOfB]
                        sum += product
                        size += abs(product)
                    }
                    (sums[row * n + column], sizes[row * n + column]) = (sum, size)
                }
            }
            for (alpha, beta, hasBias) in [
                (Float(1), Float(0), false), (1, 1, false), (1, 0, true), (1, 1, true), (0.5, 0, false), (0.25, 0.5, true),
            ] {
                for backend in Self.backends {
                    var bits: [UInt8] = []
                    for threads in [1, 2] {
                        let (before, after) = (PaddedMatrix(m, n, test.result, key: 3), PaddedMatrix(m, n, test.result, key: 3))
                        if beta == 0 {
                            // What C held must not matter.
                            for row in 0..<m {
                                for column in 0..<n where after.tensor.dataType == .float32 {
                                    after.tensor.floats[row * after.leading + column] = .nan
                                }
                            }
                        }
                        withThreads(threads) {
                            multiplyMatrices(
                                using: backend, into: after.result, a.operand(transposeA), b.operand(transposeB), m: m, n: n, k: k, alpha: alpha,
                                beta: beta, bias: hasBias ? UnsafePointer(bias.floats) : nil)
                        }
                        let (valuesBefore, valuesAfter, offsets) = (before.all, after.all, bias.array)
                        var worst = (excess: 0.0, row: 0, column: 0)
                        for row in 0..<m {
                            for column in 0..<n {
                                let place = row * after.leading + column
                                let added = Double(beta) * valuesBefore[place] + (hasBias ? Double(offsets[column]) : 0)
                                let expected = Double(alpha) * sums[row * n + column] + added
                                let size = Double(alpha) * sizes[row * n + column] + abs(added)
                                // K + 3 additions in float32, and one rounding to the result's type.
                                let bound = Double(k + 3) * 0x1p-23 * size + (test.result == .bfloat16 ? 0x1p-8 * abs(expected) : 0) + 1e-30
                                let error = abs(valuesAfter[place] - expected)
                                if !(error <= bound), !(error / bound <= worst.excess) { worst = (error / bound, row, column) }
                            }
                        }
                        #expect(
                            worst.excess == 0,
                            "\(backend), \(threads) threads, \(transposeA) \(transposeB) alpha \(alpha) beta \(beta) bias \(hasBias): \(worst)")
                        #expect(after.margin == before.margin, "\(backend) wrote beside its rows")
                        if threads == 1 {
                            bits = after.bytes
                        } else {
                            #expect(after.bytes == bits, "\(backend): the bits depend on the number of threads")
                        }
                    }
                }
            }
        }
    }

    @Test("dividing a product does not change its bits", arguments: [(512, 768, 96), (130, 2048, 768), (2049, 384, 384), (384, 384, 2048)])
    func division(_ m: Int, _ n: Int, _ k: Int) {
        for type in [DataType.float32, .bfloat16] {
            for (transposeA, transposeB) in [(Transposition.none, Transposition.none), (.none, .transposed), (.transposed, .none)] {
                let a = transposeA == .none ? PaddedMatrix(m, k, type, key: 1) : PaddedMatrix(k, m, type, key: 1)
                let b = transposeB == .none ? PaddedMatrix(k, n, type, key: 2) : PaddedMatrix(n, k, type, key: 2)
                for backend in Self.backends {
                    let results = [1, 2, 3, 5].map { threads in
                        let c = PaddedMatrix(m, n, .float32, key: 3)
                        withThreads(threads) {
                            multiplyMatrices(using: backend, into: c.result, a.operand(transposeA), b.operand(transposeB), m: m, n: n, k: k)
                        }
                        return c.bytes
                    }
                    for other in results.dropFirst() where other != results[0] { Issue.record("\(backend) \(type) \(transposeA) \(transposeB)") }
                }
            }
        }
    }

    @Test("a product within a part runs inline")
    func nested() {
        let (a, b) = (PaddedMatrix(96, 200, .float32, key: 1), PaddedMatrix(200, 300, .float32, key: 2))
        let results = (0..<3).map { _ in PaddedMatrix(96, 300, .float32, key: 3) }
        withThreads(2) {
            Workers.forEach(tasks: 2) { multiplyMatrices(into: results[$0].result, a.operand(), b.operand(), m: 96, n: 300, k: 200) }
        }
        multiplyMatrices(into: results[2].result, a.operand(), b.operand(), m: 96, n: 300, k: 200)
        #expect(results[0].bytes == results[2].bytes && results[1].bytes == results[2].bytes)
    }

    @Test("the cache of compiled products stays below its limit", .enabled(if: OneDNN.isAvailable))
    func eviction() {
        let cache = OneDNNProducts(limit: 8)
        let (a, b) = (PaddedMatrix(1, 40, .float32, key: 1), PaddedMatrix(40, 40, .float32, key: 2))
        func product(_ n: Int) -> Float {
            let c = Tensor(zeros: [1, 40])
            #expect(cache.multiply(MatrixResult(c), a.operand(), b.operand(), m: 1, n: n, k: 40, alpha: 1, beta: 0, bias: nil))
            return c.floats[n - 1]
        }
        let first = (1...20).map(product)
        #expect(cache.compiled == 20 && cache.count <= 8)
        #expect((17...20).map(product) == Array(first[16...]), "what was used last is still at hand")
        #expect(cache.compiled == 20)
        #expect((1...20).map(product) == first && cache.count <= 8 && cache.compiled > 20)
        let (left, right) = (a.all, b.all)
        for (index, value) in first.enumerated() {
            var expected = 0.0
            for row in 0..<40 { expected += left[row] * right[row * b.leading + index] }
            #expect(abs(Double(value) - expected) < 1e-5)
        }
    }

    @Test("what occurs is observed, measured and followed")
    func choices() throws {
        defer { MatrixProducts.reset() }
        MatrixProducts.reset()
        MatrixProducts.observe()
        let (a, b, c) = (PaddedMatrix(256, 330, .float32, key: 1), PaddedMatrix(200, 330, .float32, key: 2), PaddedMatrix(256, 200, .float32, key: 3))
        for _ in 0..<2 { multiplyMatrices(into: c.result, a.operand(), b.operand(.transposed), m: 256, n: 200, k: 330) }
        multiplyMatrices(into: c.result, a.operand(), b.operand(.transposed), m: 1, n: 200, k: 330)
        let observed = MatrixProducts.endObserving()
        // Other suites multiply at the same time.
        let own = observed.filter { $0.productClass == "float32 nt 256x256x512" }
        #expect(own.count == (OneDNN.isAvailable ? 1 : 0))
        #expect(!observed.contains { $0.productClass.contains("nt 1x") }, "a small product was observed")
        let written = try JSONDecoder().decode([ObservedProduct].self, from: try JSONEncoder().encode(own))
        #expect(written == own)
        for product in own {
            let seconds = ObservedProduct.measuredSeconds(product, [.openBLAS, .oneDNN])
            #expect(seconds.count == 2 && seconds.allSatisfy { $0 > 0 && $0 < 1e3 })
        }
        let choices = MatrixChoices(["float32 nt 256x256x512": .openBLAS])
        let text = try JSONEncoder().encode(choices)
        #expect(try MatrixProducts.adopt(JSONDecoder().decode(MatrixChoices.self, from: text)).isEmpty)
        #expect(MatrixProducts.choices == choices)
    }

    @Test("a near tie falls as the rule says", .enabled(if: OneDNN.isAvailable))
    func nearTies() throws {
        // The rule has oneDNN here, and OpenBLAS there.
        for (name, ofRule, other) in [
            ("float32 nt 512x512x512", MatrixBackend.oneDNN, MatrixBackend.openBLAS), ("float32 tn 1024x1024x2048", .openBLAS, .oneDNN),
        ] {
            let product = try #require(ObservedProduct(productClass: name))
            for (factor, expected) in [(0.5, other), (0.91, other), (0.93, ofRule), (1, ofRule), (1.2, ofRule)] {
                let choice = product.fastest { asked, backends in
                    #expect(asked == product)
                    return backends.map { $0 == other ? factor : 1 }
                }
                #expect(choice.backend == expected && choice.seconds.count == 2, "\(name) \(factor)")
            }
        }
    }

    @Test("a choice is followed")
    func following() throws {
        defer { MatrixProducts.reset() }
        let (a, b) = (PaddedMatrix(512, 128, .float32, key: 1), PaddedMatrix(128, 256, .float32, key: 2))
        for backend in Self.backends where MatrixProducts.forced == nil {
            _ = try MatrixProducts.adopt(MatrixChoices(["float32 nn 512x256x128": backend]))
            let (chosen, given) = (PaddedMatrix(512, 256, .float32, key: 3), PaddedMatrix(512, 256, .float32, key: 3))
            multiplyMatrices(into: chosen.result, a.operand(), b.operand(), m: 512, n: 256, k: 128)
            multiplyMatrices(using: backend, into: given.result, a.operand(), b.operand(), m: 512, n: 256, k: 128)
            #expect(chosen.bytes == given.bytes)
        }
    }

    @Test("a class reads back as what was written")
    func classes() throws {
        defer { MatrixProducts.reset() }
        let texts = ["float32 nt 1024x4096x1024", "bfloat16 tn 1x2x4 +", "bfloat16-float32 nn 65536x64x512", "float32-bfloat16 tt 2x2x2147483648 +"]
        let choices = MatrixChoices(Dictionary(uniqueKeysWithValues: texts.map { ($0, .openBLAS) }))
        #expect(try MatrixProducts.adopt(choices).isEmpty)
        #expect(MatrixProducts.choices == choices)
        #expect(choices.lines.first == "bfloat16 tn 1x2x4 + -> openBLAS")
        for text in [
            "", "float32", "float16 nn 1x1x1", "float32 nx 1x1x1", "float32 nn 3x1x1", "float32 nn 1x1", "float32 nn 1x1x1 -", "float32 nn 01x1x1",
        ] {
            #expect(throws: UserError.self) { try MatrixProducts.adopt(MatrixChoices([text: .openBLAS])) }
        }
    }

    @Test("names of backends and of core types are checked")
    func names() throws {
        let place = "MNEME_MATRIX_BACKEND"
        #expect(try MatrixBackend.named("openblas", at: place, problem: "none") == .openBLAS)
        #expect(try MatrixBackend.named("onednn", at: place, problem: nil) == .oneDNN)
        let missing = #expect(throws: UserError.self) { try MatrixBackend.named("onednn", at: place, problem: "libdnnl.so.2: cannot open") }
        #expect(missing?.description.contains("libdnnl-dev") == true && missing?.description.contains("libdnnl.so.2: cannot open") == true)
        #expect(missing?.exitCode == .configuration)
        let unknown = #expect(throws: UserError.self) { try MatrixBackend.named("mkl", at: place, problem: nil) }
        #expect(unknown?.description == "MNEME_MATRIX_BACKEND: there is no matrix backend 'mkl'; unset it or use openblas or onednn")

        for good in ["", "haswell", "SkylakeX", "Neverheard"] { try BLAS.validate(coreType: good, current: "Neverheard") }
        let core = #expect(throws: UserError.self) { try BLAS.validate(coreType: "Pentium9", current: "Haswell") }
        #expect(core?.description.hasPrefix("OPENBLAS_CORETYPE: OpenBLAS knows no core type 'Pentium9'") == true && core?.exitCode == .configuration)
    }
}
