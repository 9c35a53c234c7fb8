// Redundancy beside the shards: their XOR, from which one that is lost or damaged comes back to the bit.

import Diagnostics
import Foundation
import HDF5
import Storage

/// How the bytes of shards are cut into stripes, and stripes shared out among parity files.
///
/// A shard is taken as bytes, and as zeros where it is shorter than the longest. Stripe `s` is the bytes from `s * stripeByteCount` on of every shard.
struct ParityLayout: Equatable {
    /// Bytes of a stripe of a shard: one checksum each.
    static let stripeByteCount = 1 << 20

    /// Bytes of each shard's file.
    let lengths: [Int]

    /// The layout for the shards that lie in a directory.
    /// - Throws: `UserError(.missingInput)` where one does not.
    init(directory: String, shards: Int) throws {
        lengths = try (0..<shards).map { try DurableFile.size(of: directory + "/" + CheckpointFormat.shardFile(rank: $0, worldSize: shards)) }
    }

    init(lengths: [Int]) { self.lengths = lengths }

    var longest: Int { lengths.max() ?? 0 }
    var stripeCount: Int { (longest + Self.stripeByteCount - 1) / Self.stripeByteCount }
    /// One parity file for each shard, but none without a stripe.
    var fileCount: Int { min(lengths.count, stripeCount) }
    /// The stripes whose parity a file holds.
    func stripes(ofFile index: Int) -> Range<Int> { stripeCount * index / fileCount..<stripeCount * (index + 1) / fileCount }
    /// The bytes that a stripe has of a file of `length` bytes.
    func byteCount(of stripe: Int, length: Int) -> Int { max(0, min(Self.stripeByteCount, length - stripe * Self.stripeByteCount)) }
    /// Bytes of the header of a parity file; what follows begins where a direct transfer may.
    func headerByteCount(ofFile index: Int) -> Int {
        let words = ParityFile.fixedWords + lengths.count + stripes(ofFile: index).count * (lengths.count + 1) + 1
        return (words * 8 + DirectFile.alignment - 1) / DirectFile.alignment * DirectFile.alignment
    }
}

/// One parity file: the XOR of a range of stripes, with a checksum of every shard's part of every stripe and of its own bytes.
struct ParityFile {
    static let magic: UInt64 = "MNEMEPAR".utf8.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    static let version = 1
    /// Words of the header before the lengths of the shards.
    static let fixedWords = 9
    /// Stripes that are in memory at a time: each shard is opened once for so many.
    static let stripesAtATime = 16

    let path: String
    let step: Int
    let index: Int
    let layout: ParityLayout
    /// For each stripe of the file the checksums of the shards' parts, then that of the parity itself.
    private(set) var checksums: [Checksum]

    var stripes: Range<Int> { layout.stripes(ofFile: index) }

    /// The checksum of a shard's part of a stripe; of the parity itself where `shard` is the number of shards.
    func checksum(of shard: Int, stripe: Int) -> Checksum { checksums[(stripe - stripes.lowerBound) * (layout.lengths.count + 1) + shard] }

    /// Where the parity of a stripe begins in the file.
    private func place(of stripe: Int) -> Int { layout.headerByteCount(ofFile: index) + (stripe - stripes.lowerBound) * ParityLayout.stripeByteCount }

    // MARK: Writing

    /// Computes the parity of some stripes from the shards in a directory, writes it, waits until it is on the disk, and reads it back from there.
    ///
    /// - Parameter path: the file; what it holds is replaced.
    /// - Throws: `UserError(.inputOutput)`; `UserError(.missingInput)` where a shard is not there.
    /// - Complexity: reads the stripes of all shards once; memory for ``stripesAtATime`` stripes.
    static func write(_ path: String, index: Int, layout: ParityLayout, shardsIn directory: String, step: Int) throws {
        try Failpoint.shardWrite.pass(path)
        let created = withSystemPath(path) { open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666) }
        guard created >= 0 else { throw UserError(.inputOutput, "cannot create the file: \(systemReason())", at: path, advice: "check the permissions") }
        close(created)
        var parity = ParityFile(path: path, step: step, index: index, layout: layout, checksums: [])
        let shards = layout.lengths.count
        parity.checksums = [Checksum](repeating: Checksum(), count: parity.stripes.count * (shards + 1))
        let file = try DirectFile(path)
        try StripeReader(layout: layout, directory: directory).forEachBatch(of: parity.stripes) { batch, sums, parts in
            for (shard, stripe, checksum) in parts { parity.set(checksum, of: shard, stripe: stripe) }
            for stripe in batch {
                let start = (stripe - batch.lowerBound) * ParityLayout.stripeByteCount
                let bytes = UnsafeRawBufferPointer(rebasing: sums[start..<start + layout.byteCount(of: stripe, length: layout.longest)])
                var checksum = Checksum()
                checksum.update(bytes)
                parity.set(checksum, of: shards, stripe: stripe)
                try file.write(bytes, at: parity.place(of: stripe))
            }
        }
        let header = parity.header
        try withUnsafeTemporaryAllocation(byteCount: header.count, alignment: DirectFile.alignment) { buffer in
            buffer.copyBytes(from: header)
            try file.write(UnsafeRawBufferPointer(buffer), at: 0)
        }
        try Failpoint.shardSync.pass(path)
        try HDF5File.synchronize(path)
        let written = try ParityFile(reading: path)
        guard written.checksums == parity.checksums, written.layout == layout, try written.damagedStripes().isEmpty else {
            throw UserError(.inputOutput, "the parity reads back differently from what was written", at: path, advice: "check the disk")
        }
    }

    private mutating func set(_ checksum: Checksum, of shard: Int, stripe: Int) {
        checksums[(stripe - stripes.lowerBound) * (layout.lengths.count + 1) + shard] = checksum
    }

    /// The header with its checksum, padded with zeros.
    private var header: [UInt8] {
        let numbers = [Self.version, step, index, layout.fileCount, ParityLayout.stripeByteCount, stripes.lowerBound, stripes.count, layout.lengths.count]
        var words = [Self.magic] + (numbers + layout.lengths).map { UInt64($0) } + checksums.map { UInt64($0.stored) }
        words.append(UInt64(Self.checksum(of: words).stored))
        let bytes = words.map(\.littleEndian).withUnsafeBytes { Array($0) }
        return bytes + [UInt8](repeating: 0, count: layout.headerByteCount(ofFile: index) - bytes.count)
    }

    private static func checksum(of words: some Collection<UInt64>) -> Checksum {
        var checksum = Checksum()
        words.map(\.littleEndian).withUnsafeBytes { checksum.update($0) }
        return checksum
    }

    // MARK: Reading

    private init(path: String, step: Int, index: Int, layout: ParityLayout, checksums: [Checksum]) {
        (self.path, self.step, self.index, self.layout, self.checksums) = (path, step, index, layout, checksums)
    }

    /// Reads the header of a parity file and checks it.
    ///
    /// - Throws: `UserError`: (.missingInput) where the file is absent, (.badData) where its header is damaged or its length is not what the header says.
    init(reading path: String) throws {
        let (descriptor, size) = try DurableFile.openRegular(path)
        defer { close(descriptor) }
        let damaged = UserError(.badData, "checksum mismatch: the parity is damaged", at: path, advice: "mneme checkpoint repair makes it anew")
        func words(_ range: Range<Int>) throws -> [UInt64] {
            guard range.upperBound * 8 <= size else { throw damaged }
            var words = [UInt64](repeating: 0, count: range.count)
            let done = words.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, off_t(range.lowerBound * 8)) }
            guard done == range.count * 8 else { throw damaged }
            return words.map { UInt64(littleEndian: $0) }
        }
        let fixed = try words(0..<Self.fixedWords)
        // The numbers have to be possible before they are computed with: the checksum is behind them.
        guard fixed[0] == Self.magic, fixed.dropFirst().allSatisfy({ $0 < 1 << 40 }) else { throw damaged }
        let numbers = fixed.dropFirst().map { Int($0) }
        guard numbers[0] <= Self.version else {
            throw UserError(.configuration, "its parity is of version \(numbers[0]), newer than \(Self.version)", at: path)
        }
        let (shards, count) = (numbers[7], numbers[6])
        guard shards > 0, shards <= size / 8, count <= size / 8 / shards else { throw damaged }
        let end = Self.fixedWords + shards + count * (shards + 1)
        let all = try words(0..<end + 1)
        guard UInt64(Self.checksum(of: all[..<end]).stored) == all[end], numbers[4] == ParityLayout.stripeByteCount else { throw damaged }
        let layout = ParityLayout(lengths: all[Self.fixedWords..<Self.fixedWords + shards].map { Int($0) })
        guard layout.fileCount == numbers[3], numbers[2] < numbers[3], layout.stripes(ofFile: numbers[2]) == numbers[5]..<numbers[5] + count else { throw damaged }
        self.init(
            path: path, step: numbers[1], index: numbers[2], layout: layout,
            checksums: all[(Self.fixedWords + shards)..<end].map { Checksum(Int64($0)) })
        let last = stripes.upperBound - 1
        // To the bit, the zeros behind the checksum too.
        guard try words(end + 1..<layout.headerByteCount(ofFile: index) / 8).allSatisfy({ $0 == 0 }),
            size == place(of: last) + layout.byteCount(of: last, length: layout.longest)
        else { throw damaged }
    }

    /// The stripes whose parity differs from its checksum, read from the disk.
    /// - Throws: `UserError(.inputOutput)`.
    func damagedStripes() throws -> [Int] {
        let file = try DirectFile(path, isReadOnly: true)
        return try stripes.filter { stripe in
            try file.checksum(of: layout.byteCount(of: stripe, length: layout.longest), at: place(of: stripe)) != checksum(of: layout.lengths.count, stripe: stripe)
        }
    }

    /// Reads the parity of a stripe.
    /// - Parameter bytes: room for a stripe, aligned; the rest is zero.
    func read(_ stripe: Int, into bytes: UnsafeMutableRawBufferPointer) throws {
        let count = layout.byteCount(of: stripe, length: layout.longest)
        try DirectFile(path, isReadOnly: true).read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]), at: place(of: stripe))
        bytes[count...].initializeMemory(as: UInt8.self, repeating: 0)
    }
}

/// Reads stripes of all shards.
struct StripeReader {
    let layout: ParityLayout
    /// Where the shards lie.
    let directory: String

    /// A shard's part of a stripe.
    typealias Part = (shard: Int, stripe: Int, checksum: Checksum)

    /// Calls `body` with the XOR of some stripes of all shards, one stripe after the other, and with the checksum of each shard's part of each.
    ///
    /// - Parameters:
    ///   - leftOut: a shard that is not read.
    ///   - missing: takes a shard's part of a stripe that cannot be read; where it is `nil` that is an error.
    /// - Throws: `UserError(.inputOutput)`.
    /// - Complexity: each shard is opened once for ``ParityFile/stripesAtATime`` stripes.
    func forEachBatch(
        of stripes: Range<Int>, leavingOut leftOut: Int? = nil, missing: ((_ shard: Int, _ stripe: Int) -> Void)? = nil,
        _ body: (_ batch: Range<Int>, _ sums: UnsafeRawBufferPointer, _ parts: [Part]) throws -> Void
    ) throws {
        let size = ParityLayout.stripeByteCount
        let longest = min(ParityFile.stripesAtATime, stripes.count)
        try withAlignedBuffer((longest + 1) * size) { buffer in
            let (part, sums) = (UnsafeMutableRawBufferPointer(rebasing: buffer[..<size]), UnsafeMutableRawBufferPointer(rebasing: buffer[size...]))
            for start in stride(from: stripes.lowerBound, to: stripes.upperBound, by: max(1, longest)) {
                let batch = start..<min(start + longest, stripes.upperBound)
                sums.initializeMemory(as: UInt8.self, repeating: 0)
                var parts: [Part] = []
                for shard in layout.lengths.indices where shard != leftOut && layout.byteCount(of: start, length: layout.lengths[shard]) > 0 {
                    let path = directory + "/" + CheckpointFormat.shardFile(rank: shard, worldSize: layout.lengths.count)
                    let file = missing != nil && Directory.exists(path) == nil ? nil : try DirectFile(path, isReadOnly: true)
                    for stripe in batch {
                        let count = layout.byteCount(of: stripe, length: layout.lengths[shard])
                        if count == 0 { break }
                        let bytes = UnsafeMutableRawBufferPointer(rebasing: part[..<count])
                        do {
                            guard let file else { throw UserError(.missingInput, "cannot be opened", at: path) }
                            try file.read(into: bytes, at: stripe * size)
                        } catch {
                            guard let missing else { throw error }
                            missing(shard, stripe)
                            continue
                        }
                        var checksum = Checksum()
                        checksum.update(UnsafeRawBufferPointer(bytes))
                        parts.append((shard, stripe, checksum))
                        UnsafeMutableRawBufferPointer(rebasing: sums[((stripe - start) * size)...]).formXOR(UnsafeRawBufferPointer(bytes))
                    }
                }
                try body(batch, UnsafeRawBufferPointer(sums), parts)
            }
        }
    }
}

/// Calls `body` with memory that direct transfers may go to.
func withAlignedBuffer(_ byteCount: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(byteCount, 1), alignment: DirectFile.alignment)
    defer { buffer.deallocate() }
    try body(buffer)
}

extension UnsafeMutableRawBufferPointer {
    /// XORs `other` into the bytes from the beginning on.
    /// - Precondition: both begin at multiples of 8, and `other` is not longer.
    func formXOR(_ other: UnsafeRawBufferPointer) {
        require(other.count <= count, "\(other.count) bytes are XORed into \(count)")
        let words = other.count / 8
        let (target, source) = (self.bindMemory(to: UInt64.self), other.bindMemory(to: UInt64.self))
        for index in 0..<words { target[index] ^= source[index] }
        for index in words * 8..<other.count { self[index] ^= other[index] }
    }
}
