// The checkpoints of a run: listing them, and choosing the one to resume from.

import Diagnostics
import Foundation
import Storage

/// A checkpoint in a list.
public struct CheckpointSummary: Sendable {
    /// The optimizer steps done when it was written.
    public let step: Int
    /// Its directory.
    public let directory: String
    /// Bytes of all its files.
    public let byteCount: Int
    /// When it was written, in ISO 8601; `nil` where `checkpoint.h5` cannot be read.
    public let created: String?
    /// How many ranks wrote it; `nil` where `checkpoint.h5` cannot be read.
    public let worldSize: Int?
    /// What is wrong with it as far as shows without reading the data; `nil` where it is complete.
    public let problem: String?

    /// True where nothing shows that is wrong.
    public var isComplete: Bool { problem == nil }
}

/// The checkpoints in a run's directory. What is still being written, or was when a crash came, is not among them.
public struct CheckpointStore: Sendable {
    /// The run's directory. It need not exist.
    public let directory: String

    /// Reads nothing: the directory need not exist.
    public init(directory: String) { self.directory = directory }

    /// The steps of which there are checkpoints, whole or damaged, oldest first.
    ///
    /// - Throws: `UserError(.inputOutput)` where the directory cannot be read.
    public func steps() throws -> [Int] {
        try Directory.names(in: directory).compactMap { CheckpointFormat.step(of: $0, prefix: "step-") }.sorted()
    }

    /// The directory of a step's checkpoint.
    public func directory(step: Int) -> String { directory + "/" + CheckpointFormat.directory(step: step) }

    /// Every checkpoint, oldest first. Files are opened, data are not read.
    ///
    /// - Throws: `UserError(.inputOutput)` where the directory cannot be read.
    public func list() throws -> [CheckpointSummary] {
        try steps().map { step in
            let directory = directory(step: step)
            var created: String?
            var worldSize: Int?
            let problem = reason {
                let reader = try CheckpointReader(directory: directory)
                if case .string(let text) = reader.attributes[CheckpointFormat.Attribute.created] { created = text }
                worldSize = reader.worldSize
                try reader.requireShards()
                try reader.close()
            }
            return CheckpointSummary(
                step: step, directory: directory, byteCount: (try? Directory.byteCount(of: directory)) ?? 0, created: created, worldSize: worldSize,
                problem: problem)
        }
    }

    /// The directory of the checkpoint that a path of the user's means: a run's directory (its newest checkpoint), a checkpoint's own, or its
    /// `checkpoint.h5`.
    ///
    /// - Throws: `UserError(.missingInput)` where there is none.
    public static func resolve(_ path: String) throws -> String {
        let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        guard let entry = Directory.exists(trimmed) else {
            throw UserError(.missingInput, "there is no such file or directory", at: path, advice: "name a run directory or a checkpoint")
        }
        if entry != .directory {
            guard Directory.lastName(of: trimmed) == CheckpointFormat.joinedFile else {
                throw UserError(.missingInput, "it is not a \(CheckpointFormat.joinedFile)", at: path, advice: "name a run directory or a checkpoint")
            }
            return Directory.parent(of: trimmed)
        }
        if Directory.exists(trimmed + "/" + CheckpointFormat.joinedFile) != nil { return trimmed }
        let name = Directory.lastName(of: trimmed)
        if CheckpointFormat.step(of: name, prefix: "step-") != nil { return trimmed }
        let store = CheckpointStore(directory: trimmed)
        guard let newest = try store.steps().last else {
            throw UserError(.missingInput, "there is no checkpoint in it", at: path, advice: "name a run directory or a checkpoint")
        }
        return store.directory(step: newest)
    }

    /// The line that says why `body` failed.
    private func reason(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch {
            return "\(error)"
        }
    }
}
