// Classes of products that share a choice of backend, and how the choice is measured.

import Kernels

/// Data types, transpositions, whether C is added to, and the extents of a product, each rounded up to a power of two.
struct ProductClass: CustomStringConvertible {
    /// The number of classes.
    static let count = 1 << 20

    /// 0 ..< count: five bits for each binary logarithm, then five flags.
    let index: Int

    init(index: Int) { self.index = index }

    @inline(__always)
    init(_ call: ProductCall) {
        var index = Self.logarithm(call.m) | Self.logarithm(call.n) << 5 | Self.logarithm(call.k) << 10
        if call.a.isTransposed { index |= 1 << 15 }
        if call.b.isTransposed { index |= 1 << 16 }
        if call.a.dataType == .bfloat16 { index |= 1 << 17 }
        if call.c.dataType == .bfloat16 { index |= 1 << 18 }
        if call.beta != 0 { index |= 1 << 19 }
        self.index = index
    }

    @inline(__always)
    private static func logarithm(_ extent: Int) -> Int { min(31, extent <= 1 ? 0 : Int.bitWidth - (extent - 1).leadingZeroBitCount) }

    private func has(_ bit: Int) -> Bool { index >> bit & 1 == 1 }

    /// Such as `bfloat16 nt 1024x4096x1024`; `bfloat16-float32` where C is float32, `+` where C is added to.
    var description: String {
        let (operands, result) = (has(17) ? "bfloat16" : "float32", has(18) ? "bfloat16" : "float32")
        let extents = [0, 5, 10].map { "\(1 << (index >> $0 & 31))" }.joined(separator: "x")
        return
            "\(operands == result ? operands : operands + "-" + result) \(has(15) ? "t" : "n")\(has(16) ? "t" : "n") \(extents)\(has(19) ? " +" : "")"
    }

    /// The inverse of `description`; nil for any other text.
    init?(_ text: String) {
        let words = text.split(separator: " ")
        guard words.count == 3 || words.count == 4 && words[3] == "+" else { return nil }
        let types = words[0].split(separator: "-")
        guard types.count <= 2, let operands = types.first, let result = types.last, types.allSatisfy({ $0 == "bfloat16" || $0 == "float32" }) else {
            return nil
        }
        var index = 0
        let extents = words[2].split(separator: "x").map { Int($0) ?? 0 }
        guard extents.count == 3, words[1].count == 2, words[1].allSatisfy({ $0 == "n" || $0 == "t" }) else { return nil }
        for (position, extent) in extents.enumerated() {
            guard extent > 0, extent & (extent - 1) == 0, extent < 1 << 32 else { return nil }
            index |= extent.trailingZeroBitCount << (5 * position)
        }
        if words[1].first == "t" { index |= 1 << 15 }
        if words[1].last == "t" { index |= 1 << 16 }
        if operands == "bfloat16" { index |= 1 << 17 }
        if result == "bfloat16" { index |= 1 << 18 }
        if words.count == 4 { index |= 1 << 19 }
        self.index = index
        if description != text { return nil }
    }
}

/// A product that occurred, without its operands.
struct ObservedProduct: Sendable {
    private let m: Int
    private let n: Int
    private let k: Int
    private let alpha: Float
    private let beta: Float
    private let operandType: DataType
    private let resultType: DataType
    private let transpositions: [Transposition]
    private let hasBias: Bool
    /// Whether it ran within a part of a divided call, on one thread.
    private let isWithinPart: Bool
    let productClass: ProductClass
    private let rule: MatrixBackend

    init(_ call: ProductCall) {
        (m, n, k, alpha, beta) = (call.m, call.n, call.k, call.alpha, call.beta)
        (operandType, resultType) = (call.a.dataType, call.c.dataType)
        transpositions = [call.a.transposition, call.b.transposition]
        hasBias = call.bias != nil
        isWithinPart = Workers.isWithinPart
        productClass = ProductClass(call)
        rule = MatrixProducts.rule(call)
    }

    /// The backend that computes it in the least time; the rule's unless another takes at least `margin` less.
    ///
    /// Both run in turn on fresh memory, so that the operands of neither are more at hand than the other's.
    func fastest(margin: Double = 0.08) -> MatrixBackend {
        let candidates = MatrixBackend.allCases.filter(\.isAvailable)
        if candidates.count == 1 { return rule }
        let (a, b) = (operand(m, k, transpositions[0], key: 1), operand(k, n, transpositions[1], key: 2))
        let c = Tensor(uninitialized: [m, n], resultType)
        c.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: m * n * resultType.byteCount)
        let bias = Tensor(zeros: [n])
        let call = ProductCall(
            c: MatrixOperand(c), a: MatrixOperand(a, transpositions[0]), b: MatrixOperand(b, transpositions[1]), m: m, n: n, k: k, alpha: alpha,
            beta: beta,
            bias: hasBias ? UnsafePointer(bias.floats) : nil)
        var best = candidates.map { _ in Duration.seconds(1e6) }
        // Within a part a product runs on one thread: so does its measurement.
        func time(_ backend: MatrixBackend) -> Duration {
            let start = ContinuousClock.now
            if isWithinPart { call.runOnThisThread(backend) } else { call.run(backend) }
            return start.duration(to: .now)
        }
        for backend in candidates { _ = time(backend) }
        let deadline = ContinuousClock.now + .milliseconds(60)
        for round in 0..<12 where round < 3 || ContinuousClock.now < deadline {
            for (position, backend) in candidates.enumerated() { best[position] = min(best[position], time(backend)) }
        }
        withExtendedLifetime((a, b, c, bias)) {}
        guard let own = candidates.firstIndex(of: rule), let first = best.indices.min(by: { best[$0] < best[$1] }) else { return rule }
        return best[first] < best[own] * (1 - margin) ? candidates[first] : rule
    }

    private func operand(_ rows: Int, _ columns: Int, _ transposition: Transposition, key: UInt64) -> Tensor {
        var random = RandomStream(key: key)
        let values = Tensor(uninitialized: transposition == .none ? [rows, columns] : [columns, rows])
        for index in 0..<values.count { values.floats[index] = random.nextUniform() - 0.5 }
        return values.converted(to: operandType)
    }
}
