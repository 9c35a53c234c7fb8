// What a run saves, declared once: saving, restoring, loading for use, fitting and re-sharding are derived from the declaration.

import Diagnostics
import HDF5

/// One thing that a run saves: its name, type, shape and placement, and where its values are.
public struct StateItem {
    /// Where values are taken from and put back.
    enum Access {
        /// Memory of the state's, which lives as long as it.
        case memory(UnsafeMutableRawBufferPointer)
        /// Values that are made to be saved and taken when they are restored.
        case values(save: () throws -> [UInt8], restore: ([UInt8]) throws -> Void)
    }

    /// A stable path such as `optimizer/first_moment/embedding`; its parts become HDF5 groups.
    public let name: String
    /// The type of its elements.
    public let elementType: CheckpointElementType
    /// The extents of the whole item over all ranks; `nil` for a list of any length.
    public let shape: [Int]?
    /// Which rank holds which rows.
    public let placement: CheckpointPlacement
    /// Called instead of restoring where a checkpoint lacks the item; `nil` where it must have it.
    public let ifAbsent: (() -> Void)?
    let access: Access

    /// An item in memory, saved from there and restored into it.
    ///
    /// - Parameter memory: the rows that `placement` names, row-major, for as long as the state lives.
    public init(
        _ name: String, _ elementType: CheckpointElementType, shape: [Int], placement: CheckpointPlacement = .replicated,
        memory: UnsafeMutableRawBufferPointer, ifAbsent: (() -> Void)? = nil
    ) {
        (self.name, self.elementType, self.shape, self.placement, self.ifAbsent) = (name, elementType, shape, placement, ifAbsent)
        access = .memory(memory)
    }

    /// A small replicated list, or rows that lie in another order in memory.
    ///
    /// - Parameters:
    ///   - shape: `nil` for a list of as many elements as there are.
    ///   - save: the elements of all rows or of those that `placement` names. Called on every rank, so it may be collective.
    ///   - restore: takes them. Throws `UserError` (.badData) for what cannot be.
    public init<Element: BitwiseCopyable>(
        _ name: String, _ elementType: CheckpointElementType, shape: [Int]? = nil, placement: CheckpointPlacement = .replicated,
        ifAbsent: (() -> Void)? = nil, save: @escaping () throws -> [Element], restore: @escaping ([Element]) throws -> Void
    ) {
        require(MemoryLayout<Element>.stride == elementType.byteCount, "\(name): \(Element.self) is not \(elementType)")
        (self.name, self.elementType, self.shape, self.placement, self.ifAbsent) = (name, elementType, shape, placement, ifAbsent)
        access = .values(
            save: { try save().withUnsafeBytes { Array($0) } },
            restore: { bytes in
                try restore([Element](unsafeUninitializedCapacity: bytes.count / elementType.byteCount) { buffer, count in
                    bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
                    count = bytes.count / elementType.byteCount
                })
            })
    }

    /// The item as a checkpoint writer takes it.
    public func checkpointItem() throws -> CheckpointItem {
        switch access {
        case .memory(let memory):
            return CheckpointItem(name, elementType, shape: shape ?? [], placement: placement, bytes: UnsafeRawBufferPointer(memory))
        case .values(let save, _):
            let bytes = try save()
            return CheckpointItem(name, elementType, shape: shape ?? [bytes.count / elementType.byteCount], placement: placement, owned: bytes)
        }
    }
}

/// A number or a text that a checkpoint says about itself, and that comes back with it.
public struct StateAttribute {
    /// Its name in `checkpoint.h5`.
    public let name: String
    let save: () -> CheckpointAttribute
    /// Takes the value; false for one that cannot be. `nil` where nothing comes back.
    let restore: ((CheckpointAttribute) -> Bool)?
    /// Whether a checkpoint may lack it.
    let isOptional: Bool

    /// An attribute that is only written.
    public init(_ name: String, _ value: @autoclosure @escaping () -> CheckpointAttribute) {
        (self.name, save, restore, isOptional) = (name, value, nil, true)
    }

    /// An attribute that is written and comes back.
    /// - Parameters:
    ///   - isOptional: whether a checkpoint may lack it; nothing is taken then.
    ///   - restore: takes the value; false for one that cannot be.
    public init(
        _ name: String, isOptional: Bool = false, save: @escaping () -> CheckpointAttribute, restore: @escaping (CheckpointAttribute) -> Bool
    ) {
        (self.name, self.save, self.restore, self.isOptional) = (name, save, restore, isOptional)
    }
}

/// A part of a run that checkpoints hold.
public protocol RunState {
    /// What it is called in lists of what does not fit: `parameters`, `optimizer`. Names of its items begin with it.
    var stateName: String { get }
    /// Its items, in the same order on every rank.
    var stateItems: [StateItem] { get }
    /// What checkpoints say about it beside its items.
    var stateAttributes: [StateAttribute] { get }
    /// Called when everything was restored.
    func wasRestored()
}

extension RunState {
    public var stateItems: [StateItem] { [] }
    public var stateAttributes: [StateAttribute] { [] }
    public func wasRestored() {}
}

/// What keeps a checkpoint from being that of some states.
public struct StateMismatch: Sendable, Equatable {
    /// Kinds of mismatch, as options of a command name them.
    public enum Kind: String, Sendable, CaseIterable {
        /// An item that is wanted and not in the checkpoint.
        case missing
        /// An item of the checkpoint that nobody takes.
        case unexpected
        /// An item of another shape or type.
        case reshaped
    }

    /// The kind.
    public let kind: Kind
    /// The item.
    public let name: String
    /// What is wrong, as a sentence.
    public let text: String
}

/// The states of a run.
public struct RunStateRegistry {
    /// The states in the order in which they are saved.
    public let states: [any RunState]

    /// Registers states. No two of them have items of one name.
    public init(_ states: [any RunState]) { self.states = states }

    /// All items.
    public var items: [StateItem] { states.flatMap(\.stateItems) }

    /// What `checkpoint.h5` says beside its items.
    public var attributes: [String: CheckpointAttribute] {
        Dictionary(states.flatMap(\.stateAttributes).map { ($0.name, $0.save()) }) { first, _ in first }
    }

    /// What does not fit between a checkpoint and the states, by name. Items that may be absent are never missing; only items under the states'
    /// names can be unexpected.
    public func mismatches(with reader: CheckpointReader) -> [StateMismatch] {
        var found: [StateMismatch] = []
        let items = items
        for item in items {
            guard let saved = reader.item(item.name) else {
                if item.ifAbsent == nil {
                    let shape = item.shape.map { " \($0)" } ?? ""
                    found.append(StateMismatch(kind: .missing, name: item.name, text: "'\(item.name)'\(shape) is not in the checkpoint"))
                }
                continue
            }
            if saved.elementType != item.elementType || item.shape.map({ $0 != saved.shape }) ?? false {
                found.append(
                    StateMismatch(
                        kind: .reshaped, name: item.name,
                        text: "'\(item.name)' is \(saved.elementType) \(saved.shape) in the checkpoint, and \(item.elementType) \(item.shape ?? []) here"))
            }
        }
        let known = Set(items.map(\.name))
        for saved in reader.items where !known.contains(saved.name) && states.contains(where: { saved.name.hasPrefix($0.stateName + "/") }) {
            found.append(
                StateMismatch(kind: .unexpected, name: saved.name, text: "the checkpoint has '\(saved.name)' \(saved.shape), which nothing here takes"))
        }
        return found
    }

    /// Makes sure that a checkpoint fits.
    /// - Parameter allowed: decides which mismatches are passed over.
    /// - Throws: `UserError` (.configuration) naming the first that is not, and how many more there are.
    public func requireFit(_ reader: CheckpointReader, allowing allowed: (StateMismatch) -> Bool = { _ in false }) throws {
        let refused = mismatches(with: reader).filter { !allowed($0) }
        guard let first = refused.first else { return }
        let more = refused.count == 1 ? "" : " (\(refused.count - 1) more \(refused.count == 2 ? "item does" : "items do") not fit)"
        throw UserError(
            .configuration, first.text + more, at: reader.directory,
            advice: "it is a checkpoint of another model or optimizer: use its run file, or another run directory")
    }
}
