// Products that occurred, and which backend computes them in the least time.

import Diagnostics
import Kernels

/// A product that occurred, without its operands. Ranks send it to each other.
package struct ObservedProduct: Codable, Sendable, Equatable {
    /// Its class, such as `float32 nt 1024x4096x1024`.
    package let productClass: String
    private let m: Int
    private let n: Int
    private let k: Int
    private let alpha: Float
    private let beta: Float
    private let hasBias: Bool
    /// Whether it ran within a part of a divided call, on one thread.
    private let isWithinPart: Bool

    init(_ call: ProductCall) {
        (m, n, k, alpha, beta) = (call.m, call.n, call.k, call.alpha, call.beta)
        hasBias = call.bias != nil
        isWithinPart = Workers.isWithinPart
        productClass = ProductClass(call).description
    }

    /// The largest product of a class; `nil` for a text that names none.
    package init?(productClass: String) {
        guard let known = ProductClass(productClass) else { return nil }
        self.productClass = productClass
        (m, n, k) = known.extents
        (alpha, beta) = (1, known.isAdding ? 1 : 0)
        (hasBias, isWithinPart) = (false, false)
    }

    /// The seconds that a backend needs for it, for each of the backends given.
    package typealias Timing = (_ product: ObservedProduct, _ backends: [MatrixBackend]) -> [Double]

    /// How much faster than the rule's a backend has to be to be chosen: 8 %. What lies closer is a tie, which falls as the rule says, whatever
    /// the clock said that time.
    package static let margin = 0.08

    /// A backend, and the seconds that each that could have been it needed; none where there is no choice.
    package struct Choice: Sendable {
        package var backend: MatrixBackend
        package var seconds: [(backend: MatrixBackend, seconds: Double)]
    }

    /// The backend that computes the product in the least time; the rule's unless another needs less by more than the margin.
    package func fastest(timing: Timing = Self.measuredSeconds) -> Choice {
        let kind = knownClass
        let rule = MatrixProducts.rule(m: m, n: n, k: k, kind.operandType, kind.resultType, isBTransposed: kind.transpositions.b == .transposed)
        let candidates = MatrixBackend.allCases.filter { $0 == .openBLAS || MatrixProducts.oneDNNComputes(kind.operandType, kind.resultType) }
        if candidates.count == 1 { return Choice(backend: rule, seconds: []) }
        let seconds = Array(zip(candidates, timing(self, candidates)))
        let ofRule = seconds.first { $0.0 == rule }?.1 ?? .infinity
        let first = seconds.min { $0.1 < $1.1 }
        let backend = first.map { $0.1 < ofRule * (1 - Self.margin) ? $0.0 : rule } ?? rule
        return Choice(backend: backend, seconds: seconds.map { (backend: $0.0, seconds: $0.1) })
    }

    private var knownClass: ProductClass {
        guard let known = ProductClass(productClass) else { failRequirement("'\(productClass)' is no class of products", file: #fileID, line: #line) }
        return known
    }

    /// Times backends in turn on memory of the measurement's own, so that the operands of none are more at hand than the others'; the best time of
    /// three to twelve rounds, as many as fit into 60 ms.
    package static func measuredSeconds(_ product: ObservedProduct, _ backends: [MatrixBackend]) -> [Double] {
        let (m, n, k, kind) = (product.m, product.n, product.k, product.knownClass)
        let a = operand(m, k, kind.transpositions.a, kind.operandType, key: 1)
        let b = operand(k, n, kind.transpositions.b, kind.operandType, key: 2)
        let c = Tensor(uninitialized: [m, n], kind.resultType)
        c.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: m * n * kind.resultType.byteCount)
        let bias = Tensor(zeros: [n])
        let call = ProductCall(
            c: MatrixResult(c), a: MatrixOperand(a, kind.transpositions.a), b: MatrixOperand(b, kind.transpositions.b), m: m, n: n, k: k,
            alpha: product.alpha, beta: product.beta, bias: product.hasBias ? UnsafePointer(bias.floats) : nil)
        // Within a part a product runs on one thread: so does its measurement.
        func time(_ backend: MatrixBackend) -> Duration {
            let start = ContinuousClock.now
            if product.isWithinPart { call.runOnThisThread(backend) } else { call.run(backend) }
            return start.duration(to: .now)
        }
        for backend in backends { _ = time(backend) }
        var best = backends.map { _ in Duration.seconds(1e6) }
        let deadline = ContinuousClock.now + .milliseconds(60)
        for round in 0..<12 where round < 3 || ContinuousClock.now < deadline {
            for (position, backend) in backends.enumerated() { best[position] = min(best[position], time(backend)) }
        }
        withExtendedLifetime((a, b, c, bias)) {}
        return best.map { $0 / .seconds(1) }
    }

    private static func operand(_ rows: Int, _ columns: Int, _ transposition: Transposition, _ type: DataType, key: UInt64) -> Tensor {
        var random = RandomStream(key: key)
        let values = Tensor(uninitialized: transposition == .none ? [rows, columns] : [columns, rows])
        for index in 0..<values.count { values.floats[index] = random.nextUniform() - 0.5 }
        return values.converted(to: type)
    }
}
