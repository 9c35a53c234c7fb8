// Which backend computes a product: forced, chosen by measurement, or by a rule.

import Diagnostics
import Kernels
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What computes a matrix product.
public enum MatrixBackend: String, Sendable, Codable, CaseIterable {
    /// SGEMM; bfloat16 operands are converted to float32 first.
    case openBLAS
    /// float32 and bfloat16 with float32 sums.
    case oneDNN

    /// True when this machine has it.
    public var isAvailable: Bool { self == .openBLAS || OneDNN.isAvailable }

    /// True when an element of a product has the same bits wherever the product is cut, at multiples of a few rows or columns: so it is with the
    /// kernels for AVX-512.
    @inline(__always)
    var isSteady: Bool { self == .openBLAS ? BLAS.isSteady : OneDNN.isSteady }

    fileprivate init?(number: UInt8) {
        switch number {
        case 1: self = .openBLAS
        case 2: self = .oneDNN
        default: return nil
        }
    }

    fileprivate var number: UInt8 { self == .openBLAS ? 1 : 2 }
}

/// The choice of a backend for every class of products.
///
/// A class is the data types, the transpositions, whether C is added to, and the extents rounded up to powers of two. Its backend is the one that is
/// forced, else the one adopted, else that of a rule which looks at the product and the machine alone. Nothing is measured here unless asked for,
/// since a backend's sums differ in their last bits: `observe()` lets the rule choose and remembers which classes occur, `endObserving()` returns
/// them, and `ObservedProduct.fastest()` times one on memory of its own. One rank does so and all adopt its choices, as does a run that is resumed.
///
/// The choices are the process's, as the threads of `Workers` are: a product is asked for deep within a model, on any of those threads, and there is
/// one answer for all of them. They change between steps only, by the thread that runs the steps.
public enum MatrixProducts {
    /// The choices that are followed.
    public static var choices: MatrixChoices {
        var choices = MatrixChoices()
        for index in 0..<ProductClass.count {
            if let backend = MatrixBackend(number: table[index].load(ordering: .relaxed) & 3) {
                choices.backends[ProductClass(index: index).description] = backend
            }
        }
        return choices
    }

    /// Follows choices made elsewhere, in place of all made here. Between products, by one thread.
    ///
    /// - Returns: a line for each class whose backend this machine lacks; the rule chooses there.
    /// - Throws: `UserError` (bad data) for a class that cannot be read.
    public static func adopt(_ choices: MatrixChoices) throws -> [String] {
        var entries: [(index: Int, backend: MatrixBackend)] = []
        var lines: [String] = []
        for (text, backend) in choices.backends.sorted(by: { $0.key < $1.key }) {
            guard let product = ProductClass(text) else {
                throw UserError(.badData, "'\(text)' is not a class of matrix products", advice: "remove the file of choices: they are made again")
            }
            if backend.isAvailable {
                entries.append((product.index, backend))
            } else {
                lines.append("\(backend.rawValue), which the run uses for products \(text), is not available here: the bits may differ")
            }
        }
        reset()
        for entry in entries { table[entry.index].store(entry.backend.number, ordering: .relaxed) }
        return lines
    }

    /// Forgets all choices and observations; a backend that is forced stays so. Between products, by one thread.
    public static func reset() {
        for index in 0..<ProductClass.count where table[index].load(ordering: .relaxed) != 0 { table[index].store(0, ordering: .relaxed) }
        isObserving.store(false, ordering: .relaxed)
        observed.withLock { $0 = [] }
    }

    /// From now on classes without a choice are remembered, each with the first product that occurs.
    package static func observe() { isObserving.store(true, ordering: .relaxed) }

    /// Ends observing. Between products, by one thread.
    ///
    /// - Returns: one product of each class that occurred, in the order of the classes' names.
    package static func endObserving() -> [ObservedProduct] {
        isObserving.store(false, ordering: .relaxed)
        let products = observed.withLock { products in
            defer { products = [] }
            return products
        }
        for index in 0..<ProductClass.count where table[index].load(ordering: .relaxed) == seen { table[index].store(0, ordering: .relaxed) }
        return products.sorted { $0.productClass < $1.productClass }
    }

    /// The backend that computes every product that it can; `nil` when each class has its own.
    public static var forced: MatrixBackend? { MatrixBackend(number: forcedNumber.load(ordering: .relaxed)) }

    /// Forces a backend, which has to be available, or lets go. At the start of a program, by one thread.
    public static func force(_ backend: MatrixBackend?) { forcedNumber.store(backend?.number ?? 0, ordering: .relaxed) }

    /// Whether there is more than one backend to choose from.
    package static var haveChoice: Bool { forced == nil && OneDNN.isAvailable }

    // MARK: for the products

    /// Multiplications from which a product has a class. Smaller ones follow the rule: they are many and their times are noise.
    private static let smallestClassified = 1 << 24

    nonisolated(unsafe) private static let table: UnsafeMutablePointer<Atomic<UInt8>> = {
        // All zeros is "no choice"; pages that no class falls into are never touched.
        guard let bytes = calloc(ProductClass.count, 1) else { fatalError("no memory for \(ProductClass.count) bytes") }
        return bytes.bindMemory(to: Atomic<UInt8>.self, capacity: ProductClass.count)
    }()
    private static let forcedNumber = Atomic<UInt8>(0)
    private static let isObserving = Atomic<Bool>(false)
    private static let observed = Mutex<[ObservedProduct]>([])
    /// In the table: a class that was observed.
    private static let seen: UInt8 = 4

    /// The backend for a product.
    @inline(__always)
    static func backend(for call: ProductCall) -> MatrixBackend {
        if call.m * call.n * call.k >= smallestClassified { return classified(call) }
        guard let forced else { return rule(call) }
        return oneDNNComputes(call.a.dataType, call.c.dataType) ? forced : .openBLAS
    }

    @inline(never)
    private static func classified(_ call: ProductCall) -> MatrixBackend {
        if !oneDNNComputes(call.a.dataType, call.c.dataType) { return .openBLAS }
        if let forced { return forced }
        let product = ProductClass(call)
        let entry = table[product.index].load(ordering: .relaxed)
        if let backend = MatrixBackend(number: entry & 3) { return backend }
        if entry == 0, isObserving.load(ordering: .relaxed) {
            let isFirst = table[product.index].compareExchange(expected: 0, desired: seen, ordering: .relaxed).exchanged
            if isFirst { observed.withLock { $0.append(ObservedProduct(call)) } }
        }
        return rule(call)
    }

    /// Whether oneDNN is there and has the product's data types.
    @inline(__always)
    static func oneDNNComputes(_ operands: DataType, _ result: DataType) -> Bool {
        operands == .float32 ? result == .float32 && OneDNN.isAvailable : OneDNN.hasNativeBFloat16
    }

    @inline(__always)
    private static func rule(_ call: ProductCall) -> MatrixBackend {
        rule(m: call.m, n: call.n, k: call.k, call.a.dataType, call.c.dataType, isBTransposed: call.b.isTransposed)
    }

    /// What to use without a measurement: what was the faster of OpenBLAS 0.3.21 and oneDNN 2.6.3 on AVX-512, by the extents. OpenBLAS has special
    /// code for products of up to a million multiplications, and the better one for large ones that sum over many rows of B.
    @inline(__always)
    static func rule(m: Int, n: Int, k: Int, _ operands: DataType, _ result: DataType, isBTransposed: Bool) -> MatrixBackend {
        guard oneDNNComputes(operands, result) else { return .openBLAS }
        if operands == .bfloat16 { return .oneDNN }
        if m * n * k <= 1_000_000 { return isBTransposed && m >= 32 && n >= 64 && k >= 64 ? .oneDNN : .openBLAS }
        return !isBTransposed && k >= 1024 && min(m, n) >= 512 ? .openBLAS : .oneDNN
    }
}

extension MatrixBackend {
    /// The backend of a name in small letters, `openblas` or `onednn`.
    ///
    /// - Parameter place: where the name was given, for the error.
    /// - Throws: `UserError` (configuration) when there is none of that name or this machine lacks it.
    public static func named(_ name: String, at place: String) throws -> MatrixBackend { try named(name, at: place, problem: OneDNN.problem) }

    /// The same with a given reason for which oneDNN is not available; `nil` when it is.
    package static func named(_ name: String, at place: String, problem: @autoclosure () -> String?) throws -> MatrixBackend {
        guard let backend = allCases.first(where: { $0.rawValue.lowercased() == name }) else {
            throw UserError(.configuration, "there is no matrix backend '\(name)'", at: place, advice: "unset it or use openblas or onednn")
        }
        if backend == .oneDNN, let problem = problem() {
            throw UserError(
                .configuration, "oneDNN is not available: \(problem)", at: place,
                advice: "install it (Debian: libdnnl-dev) and build again, or unset the variable")
        }
        return backend
    }
}

/// Backends by class of product, as a value to be kept with a run: a class reads `bfloat16 nt 1024x4096x1024`, its extents M x N x K.
public struct MatrixChoices: Codable, Sendable, Equatable {
    /// The backend of each class; a class that is not there has its own rule.
    public var backends: [String: MatrixBackend] = [:]

    /// Choices as they are given; none by default.
    public init(_ backends: [String: MatrixBackend] = [:]) { self.backends = backends }

    public init(from decoder: any Decoder) throws { backends = try decoder.singleValueContainer().decode([String: MatrixBackend].self) }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(backends)
    }

    /// One line a class, such as `float32 nt 1024x4096x1024 -> oneDNN`.
    public var lines: [String] { backends.sorted { $0.key < $1.key }.map { "\($0.key) -> \($0.value.rawValue)" } }
}
