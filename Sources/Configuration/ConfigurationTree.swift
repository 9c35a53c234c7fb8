// A run's configuration: one YAML file, overridden from the command line, read key by key.

import Diagnostics
import Foundation
import Inputs

/// The configuration of a run while it is read.
///
/// Every reader asks for the keys it knows, with their types and defaults. What was asked and what was answered is
/// recorded: `finish()` turns keys that nobody asked for into errors, and `resolvedYAML()` writes the whole configuration
/// with every default, which read again gives the same values. The reads are the only list of keys that there is; `keys(_:)` collects it.
///
/// ```swift
/// let tree = try ConfigurationTree(contentsOf: "launch/runs/quickstart.yaml", overrides: ["batch.lanes=16"])
/// let batch = try tree.section("batch")
/// let lanes = try batch.int("lanes", "The lanes of the global batch.", in: 1...)
/// let optimizer = try tree.section("optimizer", onResume: .noted)
/// let learningRate = try optimizer.double("learningRate", "The rate that the schedule multiplies.", default: 1e-3, in: 0...)
/// try tree.finish()
/// ```
public final class ConfigurationTree {
    /// The keys at the top level of the file: `run`, `seed`, `steps`.
    public let root: ConfigurationSection

    /// Reads a file.
    ///
    /// - Parameters:
    ///   - path: the YAML file, named in errors as it is given here; `-` for standard input. It is opened as `TextFile` opens it.
    ///   - overrides: `section.key=value` each, applied in this order; the value is YAML: a scalar, `[a, b]` or `{key: value}`.
    /// - Throws: `UserError`: `missingInput` when there is no such file, `inputOutput` when it cannot be read, `badData` when it is no text,
    ///   `configuration` when it is not UTF-8 or not YAML, `usage` when an override has no `=`.
    public convenience init(contentsOf path: String, overrides: [String] = []) throws {
        try self.init(utf8: TextFile.bytes(path), file: path, overrides: overrides)
    }

    /// Reads bytes that should be UTF-8.
    ///
    /// - Throws: `UserError` as `init(contentsOf:)` does.
    public convenience init(utf8 bytes: [UInt8], file: String, overrides: [String] = []) throws {
        if let offset = bytes.firstInvalidUTF8Offset {
            let newline = UInt8(ascii: "\n")
            let line = bytes[..<offset].count { $0 == newline } + 1
            let column = offset - (bytes[..<offset].lastIndex(of: newline).map { $0 + 1 } ?? 0) + 1
            throw UserError(
                .configuration, "not UTF-8: byte 0x\(String(bytes[offset], radix: 16))", at: "\(file):\(line):\(column)",
                advice: "save the file as UTF-8")
        }
        try self.init(yaml: String(decoding: bytes, as: UTF8.self), file: file, overrides: overrides)
    }

    /// Reads a text.
    ///
    /// - Throws: `UserError` as `init(contentsOf:)` does.
    public convenience init(yaml: String, file: String, overrides: [String] = []) throws {
        try self.init(yaml: yaml, file: file, overrides: overrides, fillsIn: false)
    }

    /// - Parameter fillsIn: required keys that are absent have some value that fits.
    init(yaml: String, file: String, overrides: [String], fillsIn: Bool) throws {
        var node = try ConfigurationNode.parse(yaml, file: file)
        if node.isNull { node.content = .section([]) }
        guard case .section = node.content else {
            throw UserError(.configuration, "a configuration is a section of keys, \(node.found)", at: node.place.description)
        }
        for override in overrides {
            try node.apply(override: override, file: file)
        }
        root = ConfigurationSection(path: [], node: node, place: file, parent: nil, fillsIn: fillsIn)
    }

    /// The section of the top level that is called `name`; an absent one is empty.
    ///
    /// - Parameter onResume: what a session that resumes does when a key of the section differs and its declaration does not say.
    /// - Throws: `UserError` (`configuration`) when something else than a section stands there.
    public func section(_ name: String, onResume: ResumeRule? = nil) throws -> ConfigurationSection {
        try root.section(name, onResume: onResume)
    }

    /// Checks that every key of the file was asked for by somebody.
    ///
    /// - Parameter known: every key that there is under other choices, for advice.
    /// - Throws: `UserError` (`configuration`) that names the first unknown key, its line and the nearest valid key.
    public func finish(known: () -> [ConfigurationKey] = { [] }) throws {
        try root.finish(known: known)
    }

    /// Every key that was read with its value, in the order of reading.
    public var values: [ConfigurationValue] { root.values }

    /// Lines for the user: keys whose spelling has changed.
    public var notices: [String] { root.notices }

    /// The complete configuration: every value that was read, defaults included, in the order of reading.
    ///
    /// Floating-point numbers are written so that they read back to the same bits.
    public func resolvedYAML() -> String {
        root.resolvedYAML(indentation: "")
    }
}

extension ConfigurationNode {
    /// Puts the value of `section.key=value` in its place, making the sections on the way.
    fileprivate mutating func apply(override: String, file: String) throws {
        guard let equals = override.firstIndex(of: "=") else {
            throw UserError(.usage, "an override is written section.key=value", at: "--set \(override)")
        }
        let dotted = override[..<equals].trimmingCharacters(in: .whitespaces)
        let path = dotted.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard path.allSatisfy({ !$0.isEmpty }) else {
            throw UserError(.usage, "an override is written section.key=value", at: "--set \(override)")
        }
        let value = try ConfigurationNode.parse(String(override[override.index(after: equals)...]), file: file, override: dotted)
        try set(value, at: path[...], override: dotted)
    }

    private mutating func set(_ value: ConfigurationNode, at path: ArraySlice<String>, override: String) throws {
        guard let key = path.first else {
            self = value
            return
        }
        var pairs: [(key: String, value: ConfigurationNode)]
        switch content {
        case .section(let existing): pairs = existing
        case _ where isNull: pairs = []
        default:
            let parent = override.split(separator: ".").dropLast(path.count).joined(separator: ".")
            throw UserError(.configuration, "'\(parent)' \(place.phrase) is not a section, so '\(key)' cannot be set in it", at: "--set \(override)")
        }
        var child: ConfigurationNode
        let index = pairs.firstIndex { $0.key == key }
        child = index.map { pairs[$0].value } ?? ConfigurationNode(content: .section([]), place: .override(override))
        try child.set(value, at: path.dropFirst(), override: override)
        if let index { pairs[index].value = child } else { pairs.append((key, child)) }
        content = .section(pairs)
    }
}

extension [UInt8] {
    /// The offset of the first byte that does not belong to well-formed UTF-8.
    fileprivate var firstInvalidUTF8Offset: Int? {
        do {
            _ = try UTF8Span(validating: span)
            return nil
        } catch {
            return error.byteOffsets.lowerBound
        }
    }
}
