// oneDNN: products in float32 and bfloat16 on the calling thread, compiled once for each shape and thread.

import COneDNN
import Diagnostics

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What the oneDNN library is. It is loaded once, at the first use of this type: by a program as it starts, while it has one thread.
public enum OneDNN {
    /// Why the library is not available; `nil` when it is.
    public static let problem: String? = mneme_onednn_open().map { String(cString: $0) }
    /// True when the library is loaded and works.
    public static let isAvailable = problem == nil
    /// The file that is loaded, such as `libdnnl.so.2`.
    public static var libraryName: String { String(cString: mneme_onednn_library()) }
    /// The loaded version, such as `2.6.3`; `nil` without the library.
    public static var version: String? {
        guard isAvailable else { return nil }
        let number = mneme_onednn_version()
        return "\(number / 10000).\(number / 100 % 100).\(number % 100)"
    }
    /// The instruction set that its kernels use, such as `avx512_core_bf16`; `nil` without the library.
    public static var instructionSet: String? { isAvailable ? String(cString: mneme_onednn_instruction_set()) : nil }
    /// Whether its kernels are such that the bits of a product do not depend on where it is cut.
    static let isSteady = instructionSet?.hasPrefix("avx512") ?? false
    /// True when it multiplies bfloat16 by instructions of the processor.
    public static let hasNativeBFloat16 = isAvailable && mneme_onednn_has_native_bfloat16()
}

/// The compiled products of one thread. Each thread has its own, since a compiled product holds the addresses of its operands while it runs.
package final class OneDNNProducts {
    private struct Entry {
        var product: MnemeOneDNNProduct
        /// The compiled product; nil when the library has none for this shape, and in an unused place.
        var handle: UnsafeMutableRawPointer?
        /// 0 for an unused place.
        var lastUse = 0
    }

    /// Products at hand in this cache.
    package private(set) var count = 0
    /// Products compiled so far.
    package private(set) var compiled = 0
    private let limit: Int
    private var uses = 0
    /// A hash table by open addressing, at most half full.
    private let places: UnsafeMutablePointer<Entry>
    private let mask: Int
    private var scratch: UnsafeMutableRawPointer?
    private var scratchBytes = 0

    /// - Parameter limit: the most products to keep, at least 4; the half that was not used for longest goes when there would be more.
    package init(limit: Int = 1024) {
        require(limit >= 4, "a cache of \(limit) products")
        self.limit = limit
        var capacity = 16
        while capacity < 2 * limit { capacity *= 2 }
        mask = capacity - 1
        places = .allocate(capacity: capacity)
        places.initialize(repeating: Entry(product: MnemeOneDNNProduct()), count: capacity)
        mneme_onednn_enter_thread()
    }

    deinit {
        for index in 0...mask { if let handle = places[index].handle { mneme_onednn_destroy(handle) } }
        places.deallocate()
        free(scratch)
    }

    /// The cache of the calling thread; it ends with the thread.
    static var current: OneDNNProducts {
        if let pointer = pthread_getspecific(key) { return Unmanaged<OneDNNProducts>.fromOpaque(pointer).takeUnretainedValue() }
        let products = OneDNNProducts()
        pthread_setspecific(key, Unmanaged.passRetained(products).toOpaque())
        return products
    }

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key) { pointer in
            let pointer: UnsafeMutableRawPointer? = pointer
            if let pointer { Unmanaged<OneDNNProducts>.fromOpaque(pointer).release() }
        }
        return key
    }()

    /// Computes on the calling thread. False when the library has no fast code for it: nothing is written then.
    package func multiply(
        _ c: MatrixResult, _ a: MatrixOperand, _ b: MatrixOperand, m: Int, n: Int, k: Int, alpha: Float, beta: Float, bias: UnsafePointer<Float>?
    ) -> Bool {
        let (storedA, storedB) = (a.stored(m, k), b.stored(k, n))
        let product = MnemeOneDNNProduct(
            m: Int64(m), n: Int64(n), k: Int64(k), leadingA: Int64(max(a.leading, storedA.columns)), leadingB: Int64(max(b.leading, storedB.columns)),
            leadingC: Int64(max(c.leading, n)), alpha: alpha, beta: beta, isATransposed: a.isTransposed, isBTransposed: b.isTransposed,
            operandsAreBFloat16: a.dataType == .bfloat16, resultIsBFloat16: c.dataType == .bfloat16, hasBias: bias != nil,
            isBPacked: false)
        guard let handle = handle(product) else { return false }
        return ProductCount.counted(m, n, k) { mneme_onednn_execute(handle, a.pointer, b.pointer, bias, c.pointer, scratch) }
    }

    /// Bytes that B of a product with a packed B takes; `nil` when the library has no fast code for it.
    func packedBytes(_ product: MnemeOneDNNProduct) -> Int? { handle(product).map { mneme_onednn_packed_bytes($0) } }

    /// Brings B into the order of a product with a packed B. False when the library cannot.
    func pack(_ product: MnemeOneDNNProduct, _ b: UnsafeRawPointer, into packed: UnsafeMutableRawPointer) -> Bool {
        handle(product).map { mneme_onednn_pack($0, b, packed) } ?? false
    }

    /// Computes a product with a packed B.
    func multiply(
        _ product: MnemeOneDNNProduct, _ c: UnsafeMutableRawPointer, _ a: UnsafeRawPointer, packed: UnsafeRawPointer,
        bias: UnsafePointer<Float>? = nil
    ) -> Bool {
        guard let handle = handle(product) else { return false }
        return ProductCount.counted(Int(product.m), Int(product.n), Int(product.k)) { mneme_onednn_execute(handle, a, packed, bias, c, scratch) }
    }

    /// Whether two products with a packed B read the same order of it.
    func packAlike(_ first: MnemeOneDNNProduct, _ second: MnemeOneDNNProduct) -> Bool {
        // The second may be compiled while the first is held: what was asked for last is never forgotten.
        guard let a = handle(first), let b = handle(second) else { return false }
        return mneme_onednn_packs_alike(a, b)
    }

    private func handle(_ product: MnemeOneDNNProduct) -> UnsafeMutableRawPointer? {
        uses += 1
        var place = product.hash & mask
        while places[place].lastUse != 0 {
            if places[place].product.isSame(as: product) {
                places[place].lastUse = uses
                return places[place].handle
            }
            place = (place + 1) & mask
        }
        if count == limit {
            forgetHalf()
            place = freePlace(for: product)
        }
        var bytes = 0
        let handle = withUnsafePointer(to: product) { mneme_onednn_create($0, &bytes) }
        places[place] = Entry(product: product, handle: handle, lastUse: uses)
        count += 1
        compiled += 1
        if bytes > scratchBytes {
            free(scratch)
            scratch = nil
            scratchBytes = (bytes + 4095) & ~4095
            if posix_memalign(&scratch, 4096, scratchBytes) != 0 { MemoryPool.shared.endWithoutMemory(scratchBytes) }
        }
        return handle
    }

    private func freePlace(for product: MnemeOneDNNProduct) -> Int {
        var place = product.hash & mask
        while places[place].lastUse != 0 { place = (place + 1) & mask }
        return place
    }

    /// Keeps the half that was used last.
    private func forgetHalf() {
        let entries = (0...mask).map { places[$0] }.filter { $0.lastUse != 0 }.sorted { $0.lastUse > $1.lastUse }
        places.update(repeating: Entry(product: MnemeOneDNNProduct()), count: mask + 1)
        for entry in entries.prefix(limit / 2) { places[freePlace(for: entry.product)] = entry }
        for entry in entries.dropFirst(limit / 2) { if let handle = entry.handle { mneme_onednn_destroy(handle) } }
        count = min(count, limit / 2)
    }
}

extension MnemeOneDNNProduct {
    @inline(__always)
    fileprivate var hash: Int {
        var hash: UInt64 = 0
        func mix(_ value: Int64) {
            hash = (hash ^ UInt64(bitPattern: value)) &* 0x9E37_79B9_7F4A_7C15
            hash ^= hash >> 32
        }
        mix(m)
        mix(n)
        mix(k)
        mix(leadingA)
        mix(leadingB)
        mix(leadingC)
        mix(Int64(flags))
        mix(Int64(alpha.bitPattern) | Int64(beta.bitPattern) << 32)
        return Int(truncatingIfNeeded: hash)
    }

    @inline(__always)
    fileprivate var flags: Int {
        (isATransposed ? 1 : 0) | (isBTransposed ? 2 : 0) | (operandsAreBFloat16 ? 4 : 0) | (resultIsBFloat16 ? 8 : 0) | (hasBias ? 16 : 0)
            | (isBPacked ? 32 : 0)
    }

    @inline(__always)
    fileprivate func isSame(as other: MnemeOneDNNProduct) -> Bool {
        m == other.m && n == other.n && k == other.k && leadingA == other.leadingA && leadingB == other.leadingB && leadingC == other.leadingC
            && alpha == other.alpha && beta == other.beta && flags == other.flags
    }
}
