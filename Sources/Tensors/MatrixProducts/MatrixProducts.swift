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
/// A class is the data types, the transpositions, whether C is added to, and the extents rounded up to powers of two. Its backend is the one that
/// MNEME_MATRIX_BACKEND forces, else the one adopted or measured, else that of a rule which looks at the product and the machine alone. Nothing is
/// measured unless asked for, since a backend's sums differ in their last bits: `observe()` lets the rule choose and remembers which classes occur,
/// and
/// `measureObserved()` times them on memory of its own. One rank does so and all adopt its choices, as does a run that is resumed.
public enum MatrixProducts {
    /// The environment variable that forces a backend: `openblas` or `onednn`.
    public static let environmentVariable = "MNEME_MATRIX_BACKEND"

    /// The choices that were adopted or measured.
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

    /// Forgets all choices and observations.
    public static func reset() {
        for index in 0..<ProductClass.count where table[index].load(ordering: .relaxed) != 0 { table[index].store(0, ordering: .relaxed) }
        isObserving.store(false, ordering: .relaxed)
        observed.withLock { $0 = [] }
    }

    /// From now on classes without a choice are remembered, to be measured later.
    public static func observe() { isObserving.store(true, ordering: .relaxed) }

    /// Times the available backends for each class observed, on the extents seen first and on other memory, and chooses; observing ends.
    /// Between products, by one thread. Nothing is measured where a backend is forced or the only one.
    ///
    /// - Returns: all choices.
    /// - Complexity: about ten products of each class.
    public static func measureObserved() -> MatrixChoices {
        isObserving.store(false, ordering: .relaxed)
        let products = observed.withLock { products in
            defer { products = [] }
            return products
        }
        for product in products { table[product.productClass.index].store(product.fastest().number, ordering: .relaxed) }
        return choices
    }

    /// Checks MNEME_MATRIX_BACKEND.
    ///
    /// - Throws: `UserError` (configuration) when it names a backend that does not exist or that this machine lacks.
    public static func validateEnvironment() throws {
        try validate(backend: requestedBackend, problem: OneDNN.problem)
    }

    /// Checks one value of MNEME_MATRIX_BACKEND; nil is none.
    package static func validate(backend: String?, problem: @autoclosure () -> String?) throws {
        guard let wanted = backend else { return }
        guard let backend = MatrixBackend(name: wanted) else {
            throw UserError(
                .configuration, "there is no matrix backend '\(wanted)'", at: environmentVariable, advice: "unset it or use openblas or onednn")
        }
        if backend == .oneDNN, let problem = problem() {
            throw UserError(
                .configuration, "oneDNN is not available: \(problem)", at: environmentVariable,
                advice: "install it (Debian: libdnnl-dev) and build again, or unset the variable")
        }
    }

    private static var requestedBackend: String? {
        guard let value = getenv(environmentVariable) else { return nil }
        let name = String(cString: value)
        return name.isEmpty ? nil : name
    }

    /// The backend that MNEME_MATRIX_BACKEND forces; a value that `validateEnvironment` reports counts as none.
    public static let forced: MatrixBackend? = requestedBackend.flatMap { MatrixBackend(name: $0) }.flatMap { $0.isAvailable ? $0 : nil }

    // MARK: for the products

    /// Multiplications from which a product has a class. Smaller ones follow the rule: they are many and their times are noise, so that measuring
    /// them
    /// would make runs differ for nothing.
    private static let smallestClassified = 1 << 24

    nonisolated(unsafe) private static let table: UnsafeMutablePointer<Atomic<UInt8>> = {
        // All zeros is "no choice"; pages that no class falls into are never touched.
        let bytes = calloc(ProductClass.count, 1)
        guard let bytes else { preconditionFailure("no memory for \(ProductClass.count) bytes") }
        return bytes.bindMemory(to: Atomic<UInt8>.self, capacity: ProductClass.count)
    }()
    private static let isObserving = Atomic<Bool>(false)
    private static let observed = Mutex<[ObservedProduct]>([])
    private static let seen: UInt8 = 4

    /// The backend for a product.
    @inline(__always)
    static func backend(for call: ProductCall) -> MatrixBackend {
        if call.m * call.n * call.k >= smallestClassified { return classified(call) }
        guard let forced else { return rule(call) }
        return oneDNNComputes(call) ? forced : .openBLAS
    }

    @inline(never)
    private static func classified(_ call: ProductCall) -> MatrixBackend {
        if !oneDNNComputes(call) { return .openBLAS }
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
    private static func oneDNNComputes(_ call: ProductCall) -> Bool {
        call.a.dataType == .float32 ? call.c.dataType == .float32 && OneDNN.isAvailable : OneDNN.hasNativeBFloat16
    }

    /// What to use without a measurement: what was the faster of OpenBLAS 0.3.21 and oneDNN 2.6.3 on AVX-512, by the extents. OpenBLAS has special
    /// code for
    /// products of up to a million multiplications, and the better one for large ones that sum over many rows of B.
    static func rule(_ call: ProductCall) -> MatrixBackend {
        guard oneDNNComputes(call) else { return .openBLAS }
        if call.a.dataType == .bfloat16 { return .oneDNN }
        if call.m * call.n * call.k <= 1_000_000 { return call.b.isTransposed && call.m >= 32 && call.n >= 64 && call.k >= 64 ? .oneDNN : .openBLAS }
        return !call.b.isTransposed && call.k >= 1024 && min(call.m, call.n) >= 512 ? .openBLAS : .oneDNN
    }
}

extension MatrixBackend {
    /// From the value of the environment variable.
    fileprivate init?(name: String) {
        guard let backend = Self.allCases.first(where: { $0.rawValue.lowercased() == name }) else { return nil }
        self = backend
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
