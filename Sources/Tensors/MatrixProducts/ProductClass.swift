// Classes of products that share a choice of backend.

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

    /// M, N and K, rounded up.
    var extents: (m: Int, n: Int, k: Int) { (1 << (index & 31), 1 << (index >> 5 & 31), 1 << (index >> 10 & 31)) }
    /// Whether A and B are read transposed.
    var transpositions: (a: Transposition, b: Transposition) { (has(15) ? .transposed : .none, has(16) ? .transposed : .none) }
    /// The data type of A and B.
    var operandType: DataType { has(17) ? .bfloat16 : .float32 }
    /// The data type of C.
    var resultType: DataType { has(18) ? .bfloat16 : .float32 }
    /// Whether C is added to.
    var isAdding: Bool { has(19) }

    /// Such as `bfloat16 nt 1024x4096x1024`; `bfloat16-float32` where C is float32, `+` where C is added to.
    var description: String {
        let types = operandType == resultType ? "\(operandType)" : "\(operandType)-\(resultType)"
        let (m, n, k) = extents
        return "\(types) \(has(15) ? "t" : "n")\(has(16) ? "t" : "n") \(m)x\(n)x\(k)\(isAdding ? " +" : "")"
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
