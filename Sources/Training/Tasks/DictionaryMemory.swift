// The exact memory M(k) = v: what soft addressing of keys tends to when its strength rises.

import Diagnostics

/// Whether keys that differ only in case are one key.
public enum KeyCase: String, Sendable, CaseIterable {
    /// `The` and `the` are two keys.
    case exact
    /// They are one; the spelling of the first put is kept.
    case folded

    /// What keys are compared by.
    func compared(_ key: String) -> String { self == .exact ? key : key.lowercased() }
}

/// What putting a second value under a key does.
public enum DuplicateRule: String, Sendable, CaseIterable {
    /// The new value takes the place of the old one.
    case replace
    /// A key holds every different value, in the order of the puts.
    case collect
}

/// A dictionary from keys to values that a person can change and that lasts: put, get, update and delete.
///
/// Without a file it lives as long as the object. With one, every change is on disk before the call returns (see `DictionaryLog` for the format and
/// for what survives a crash), and several processes may use the file: a change takes in what others have written first.
public final class DictionaryMemory {
    /// Whether keys that differ in case alone are one key.
    public let keyCase: KeyCase
    /// What a second value under a key does.
    public let duplicates: DuplicateRule
    private var contents: DictionaryContents
    private let log: DictionaryLog?

    /// An empty memory that does not last.
    public init(keyCase: KeyCase = .exact, duplicates: DuplicateRule = .collect) {
        self.keyCase = keyCase
        self.duplicates = duplicates
        contents = DictionaryContents(keyCase: keyCase, duplicates: duplicates)
        log = nil
    }

    /// Opens a file.
    /// - Throws: `UserError`: `.missingInput` where there is none, `.badData` where it is no dictionary or is damaged before its last record.
    public init(path: String) throws {
        let log = DictionaryLog(path: path)
        let read = try log.read()
        self.log = log
        (keyCase, duplicates, contents) = (read.keyCase, read.duplicates, read)
    }

    /// Writes all of it into a new file, or in the place of an old one: the file is the old one or the new one at any moment.
    /// - Throws: `UserError(.inputOutput)`.
    public func save(to path: String) throws { try DictionaryLog(path: path).replace(by: contents) }

    /// The bytes of a file that holds what this memory holds.
    public var bytes: [UInt8] { DictionaryLog.bytes(of: contents) }

    /// The number of keys.
    public var count: Int { contents.count }

    /// What was lost of the file's end when it was read: a record that a crash had cut off. `nil` where nothing was.
    public var repair: String? { log?.repair }

    /// All keys with their values, in the order of their first put.
    public var entries: [(key: String, values: [String])] { contents.entries }

    /// The values of a key, none where it is not known.
    public func get(_ key: String) -> [String] { contents.values(of: key) }

    /// Adds a value, by the rule for duplicates.
    /// - Returns: false where the key has that value already.
    /// - Throws: `UserError` where the file cannot be read or written; the memory is then as it was.
    @discardableResult
    public func put(_ key: String, _ value: String) throws -> Bool { try change(.put(key: key, value: value)) > 0 }

    /// Replaces one value, or all values, of a key by another.
    /// - Parameter old: the value to replace; `nil` for all of them.
    /// - Returns: false where the key, or its old value, is not known.
    /// - Throws: as `put`.
    @discardableResult
    public func update(_ key: String, from old: String? = nil, to new: String) throws -> Bool {
        try change(.update(key: key, old: old, new: new)) > 0
    }

    /// Deletes a key, or one of its values.
    /// - Returns: how many values were deleted.
    /// - Throws: as `put`.
    @discardableResult
    public func delete(_ key: String, _ value: String? = nil) throws -> Int { try change(.delete(key: key, value: value)) }

    private func change(_ change: DictionaryChange) throws -> Int {
        guard let log else { return contents.apply(change) }
        return try log.append(change, to: &contents)
    }
}

/// One change of a dictionary.
enum DictionaryChange: Equatable {
    case put(key: String, value: String)
    case update(key: String, old: String?, new: String)
    case delete(key: String, value: String?)
}

/// Keys and values in the order of their puts.
struct DictionaryContents {
    let keyCase: KeyCase
    let duplicates: DuplicateRule
    /// Slots of deleted keys are `nil` until there are as many of them as of others.
    private var slots: [(key: String, values: [String])?] = []
    private var places: [String: Int] = [:]

    init(keyCase: KeyCase, duplicates: DuplicateRule) {
        self.keyCase = keyCase
        self.duplicates = duplicates
    }

    var count: Int { places.count }
    var entries: [(key: String, values: [String])] { slots.compactMap { $0 } }

    /// Values of all keys together.
    var valueCount: Int { slots.reduce(0) { $0 + ($1?.values.count ?? 0) } }

    func values(of key: String) -> [String] { places[keyCase.compared(key)].flatMap { slots[$0]?.values } ?? [] }

    /// Makes a change; returns how many values it touched.
    mutating func apply(_ change: DictionaryChange) -> Int {
        switch change {
        case .put(let key, let value):
            let compared = keyCase.compared(key)
            guard let place = places[compared], var slot = slots[place] else {
                places[compared] = slots.count
                slots.append((key, [value]))
                return 1
            }
            if slot.values.contains(value) { return 0 }
            slots[place] = nil
            if duplicates == .replace { slot.values = [value] } else { slot.values.append(value) }
            slots[place] = slot
            return 1
        case .update(let key, let old, let new):
            guard let place = places[keyCase.compared(key)], var slot = slots[place] else { return 0 }
            guard let old else {
                slots[place] = (slot.key, [new])
                return slot.values.count
            }
            guard let position = slot.values.firstIndex(of: old) else { return 0 }
            slot.values[position] = new
            if let other = slot.values.indices.first(where: { $0 != position && slot.values[$0] == new }) {
                slot.values.remove(at: max(other, position))
            }
            slots[place] = slot
            return 1
        case .delete(let key, let value):
            guard let place = places[keyCase.compared(key)], var slot = slots[place] else { return 0 }
            if let value {
                guard let position = slot.values.firstIndex(of: value) else { return 0 }
                slot.values.remove(at: position)
                slots[place] = slot
                if slot.values.isEmpty { removeSlot(place) }
                return 1
            }
            removeSlot(place)
            return slot.values.count
        }
    }

    private mutating func removeSlot(_ place: Int) {
        if let key = slots[place]?.key { places[keyCase.compared(key)] = nil }
        slots[place] = nil
        guard slots.count > 2 * places.count + 16 else { return }
        slots.removeAll { $0 == nil }
        for (place, slot) in slots.enumerated() { if let slot { places[keyCase.compared(slot.key)] = place } }
    }
}
