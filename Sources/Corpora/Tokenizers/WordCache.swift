// The ids of words that were encoded before. Natural text repeats its words, and a look-up costs a tenth of an encoding.

/// Ids by word, in bounded memory. What it holds never changes what an encoding gives, only how long that takes.
final class WordCache {
    private struct Slot {
        /// 0 in an empty slot.
        var hash: UInt32
        var keyOffset: UInt32
        var idOffset: UInt32
        var keyLength: UInt16
        var idCount: UInt16
    }

    /// The longest word that is kept, in bytes.
    static let longestWord = 64

    private static let slotCount = 1 << 18
    private static let wordLimit = slotCount / 2
    private let slots: UnsafeMutablePointer<Slot>
    private var keys: [UInt8] = []
    private var ids: [Int32] = []
    private var wordCount = 0

    init() {
        slots = .allocate(capacity: Self.slotCount)
        slots.initialize(repeating: Slot(hash: 0, keyOffset: 0, idOffset: 0, keyLength: 0, idCount: 0), count: Self.slotCount)
    }

    deinit {
        slots.deallocate()
    }

    /// The hash of a word, never 0.
    @inline(__always)
    static func hash(_ word: UnsafeBufferPointer<UInt8>, isAfterBoundary: Bool) -> UInt32 {
        var hash: UInt64 = isAfterBoundary ? 0x9E37_79B9_7F4A_7C15 : 0xC2B2_AE3D_27D4_EB4F
        for byte in word { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        hash ^= hash >> 32
        return UInt32(truncatingIfNeeded: hash) | 1
    }

    /// Appends the ids of a word to `output`; false when it is not known.
    ///
    /// - Parameters:
    ///   - hash: of `word`, with the same `isAfterBoundary`.
    ///   - isAfterBoundary: the word begins a text, so that the tokenizer puts a word boundary before it.
    func append(_ word: UnsafeBufferPointer<UInt8>, hash: UInt32, isAfterBoundary: Bool, to output: inout [Int32]) -> Bool {
        var index = Int(hash >> 1) & (Self.slotCount - 1)
        while slots[index].hash != 0 {
            let slot = slots[index]
            if slot.hash == hash, slot.keyLength == Self.keyLength(word.count, isAfterBoundary), holds(word, at: Int(slot.keyOffset)) {
                let start = Int(slot.idOffset)
                output.append(contentsOf: ids[start..<start + Int(slot.idCount)])
                return true
            }
            index = (index + 1) & (Self.slotCount - 1)
        }
        return false
    }

    /// Keeps the ids of a word that `append` did not know. Starts afresh when full.
    func insert(_ word: UnsafeBufferPointer<UInt8>, hash: UInt32, isAfterBoundary: Bool, ids newIDs: ArraySlice<Int32>) {
        if wordCount == Self.wordLimit { removeAll() }
        wordCount += 1
        var index = Int(hash >> 1) & (Self.slotCount - 1)
        while slots[index].hash != 0 { index = (index + 1) & (Self.slotCount - 1) }
        slots[index] = Slot(
            hash: hash, keyOffset: UInt32(keys.count), idOffset: UInt32(ids.count), keyLength: Self.keyLength(word.count, isAfterBoundary),
            idCount: UInt16(newIDs.count))
        keys.append(contentsOf: word)
        ids.append(contentsOf: newIDs)
    }

    private func removeAll() {
        slots.update(repeating: Slot(hash: 0, keyOffset: 0, idOffset: 0, keyLength: 0, idCount: 0), count: Self.slotCount)
        keys.removeAll(keepingCapacity: true)
        ids.removeAll(keepingCapacity: true)
        wordCount = 0
    }

    /// The length of a word and whether it begins a text, as one number.
    @inline(__always)
    private static func keyLength(_ count: Int, _ isAfterBoundary: Bool) -> UInt16 { UInt16(count) << 1 | (isAfterBoundary ? 1 : 0) }

    @inline(__always)
    private func holds(_ word: UnsafeBufferPointer<UInt8>, at offset: Int) -> Bool {
        keys.withUnsafeBufferPointer { keys in
            for index in 0..<word.count where keys[offset + index] != word[index] { return false }
            return true
        }
    }
}
