// Attributes: small named values on groups and datasets.

import CHDF5
import Diagnostics
import Foundation

/// The value of an attribute.
public enum HDF5AttributeValue: Sendable, Hashable {
    /// UTF-8 text of any length, without NUL bytes. In the file a string of variable length.
    case string(String)
    case integer(Int64)
    case real(Double)
    case integers([Int64])
    case reals([Double])
}

extension HDF5File {
    /// Sets an attribute, replacing one of the same name.
    ///
    /// - Parameter object: the group or dataset that carries it; the root group unless given.
    /// - Throws: `UserError(.inputOutput)`.
    public func setAttribute(_ name: String, _ value: HDF5AttributeValue, on object: String = "/") throws {
        try HDF5Library.locked {
            if try hasAttribute(name, on: object) {
                try HDF5Library.checked(.writing, path, "replace attribute '\(name)' of '\(object)'") {
                    H5Adelete_by_name(openIdentifier, object, name, mneme_h5p_default())
                }
            }
            switch value {
            case .string(let text):
                precondition(!text.utf8.contains(0), "attribute '\(name)' holds a NUL byte")
                try HDF5File.withStringType(size: mneme_h5t_variable()) { type in
                    try text.withCString { characters in
                        var characters: UnsafePointer<CChar>? = characters
                        try write(name, object, type, type, [], &characters)
                    }
                }
            case .integer(let number): try write(name, object, mneme_h5t_std_i64le(), mneme_h5t_native_int64(), [], [number])
            case .real(let number): try write(name, object, mneme_h5t_ieee_f64le(), mneme_h5t_native_double(), [], [number])
            case .integers(let numbers): try write(name, object, mneme_h5t_std_i64le(), mneme_h5t_native_int64(), [numbers.count], numbers)
            case .reals(let numbers): try write(name, object, mneme_h5t_ieee_f64le(), mneme_h5t_native_double(), [numbers.count], numbers)
            }
        }
    }

    /// Whether `object` carries an attribute `name`.
    ///
    /// - Throws: `UserError(.badData)` where there is no such object or the file is damaged there.
    public func hasAttribute(_ name: String, on object: String = "/") throws -> Bool {
        try HDF5Library.checked(.reading, path, "look for attribute '\(name)' of '\(object)'") {
            H5Aexists_by_name(openIdentifier, object, name, mneme_h5p_default())
        } > 0
    }

    /// The value of an attribute. Integers and reals of any width are read; strings of fixed and of variable length.
    ///
    /// - Throws: `UserError(.badData)` where the attribute is absent, of another kind, not UTF-8, or the file is damaged there.
    public func attribute(_ name: String, on object: String = "/") throws -> HDF5AttributeValue {
        try HDF5Library.locked {
            let action = "read attribute '\(name)' of '\(object)'"
            let attribute = try HDF5Library.checked(.reading, path, action) {
                H5Aopen_by_name(openIdentifier, object, name, mneme_h5p_default(), mneme_h5p_default())
            }
            defer { H5Aclose(attribute) }
            let type = try HDF5Library.checked(.reading, path, action) { H5Aget_type(attribute) }
            defer { H5Tclose(type) }
            let space = try HDF5Library.checked(.reading, path, action) { H5Aget_space(attribute) }
            defer { H5Sclose(space) }
            let isScalar = H5Sget_simple_extent_type(space) == H5S_SCALAR
            let count = try HDF5Library.checked(.reading, path, action) { H5Sget_simple_extent_npoints(space) }

            switch H5Tget_class(type) {
            case H5T_INTEGER:
                let numbers: [Int64] = try read(attribute, mneme_h5t_native_int64(), Int(count), filler: 0, action)
                return isScalar ? .integer(numbers[0]) : .integers(numbers)
            case H5T_FLOAT:
                let numbers: [Double] = try read(attribute, mneme_h5t_native_double(), Int(count), filler: 0, action)
                return isScalar ? .real(numbers[0]) : .reals(numbers)
            case H5T_STRING where count == 1:
                return .string(try readString(attribute, type, action))
            default:
                throw UserError(.badData, "cannot \(action): it is neither text nor numbers", at: path)
            }
        }
    }

    /// The names of the attributes of `object`, in order of their bytes.
    ///
    /// - Throws: `UserError(.badData)` where there is no such object or the file is damaged there.
    public func attributeNames(on object: String = "/") throws -> [String] {
        try HDF5Library.locked {
            let action = "list the attributes of '\(object)'"
            let identifier = try HDF5Library.checked(.reading, path, action) { H5Oopen(openIdentifier, object, mneme_h5p_default()) }
            defer { H5Oclose(identifier) }
            var names: [String] = []
            try withUnsafeMutablePointer(to: &names) { list in
                _ = try HDF5Library.checked(.reading, path, action) {
                    H5Aiterate2(identifier, H5_INDEX_NAME, H5_ITER_INC, nil, { _, name, _, list in
                        guard let name else { return 0 }
                        list?.assumingMemoryBound(to: [String].self).pointee.append(String(cString: name))
                        return 0
                    }, list)
                }
            }
            return names
        }
    }

    /// Every attribute of `object` by name.
    ///
    /// - Throws: as ``attribute(_:on:)``.
    public func attributes(on object: String = "/") throws -> [String: HDF5AttributeValue] {
        Dictionary(uniqueKeysWithValues: try attributeNames(on: object).map { ($0, try attribute($0, on: object)) })
    }

    // MARK: One attribute

    private func write(
        _ name: String, _ object: String, _ fileType: hid_t, _ memoryType: hid_t, _ shape: [Int], _ values: UnsafeRawPointer
    ) throws {
        try HDF5Library.withSpace(shape) { space in
            let action = "write attribute '\(name)' of '\(object)'"
            let attribute = try HDF5Library.checked(.writing, path, action) {
                H5Acreate_by_name(openIdentifier, object, name, fileType, space, mneme_h5p_default(), mneme_h5p_default(), mneme_h5p_default())
            }
            defer { H5Aclose(attribute) }
            try HDF5Library.checked(.writing, path, action) { H5Awrite(attribute, memoryType, values) }
        }
    }

    private func read<Value>(_ attribute: hid_t, _ type: hid_t, _ count: Int, filler: Value, _ action: String) throws -> [Value] {
        var values = [Value](repeating: filler, count: count)
        _ = try values.withUnsafeMutableBytes { buffer in
            try HDF5Library.checked(.reading, path, action) { H5Aread(attribute, type, buffer.baseAddress) }
        }
        return values
    }

    private func readString(_ attribute: hid_t, _ type: hid_t, _ action: String) throws -> String {
        let bytes: [UInt8]
        if H5Tis_variable_str(type) > 0 {
            bytes = try HDF5File.withStringType(size: mneme_h5t_variable()) { memoryType in
                var text: UnsafeMutablePointer<CChar>?
                try HDF5Library.checked(.reading, path, action) { H5Aread(attribute, memoryType, &text) }
                guard let text else { return [] }
                defer { H5free_memory(text) }
                return Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
            }
        } else {
            let padded: [UInt8] = try read(attribute, type, H5Tget_size(type), filler: 0, action)
            bytes = Array(padded.prefix { $0 != 0 })
        }
        guard let string = String(validating: bytes, as: UTF8.self) else {
            throw UserError(.badData, "cannot \(action): it is not UTF-8", at: path)
        }
        return string
    }

    private static func withStringType<Result>(size: Int, _ body: (hid_t) throws -> Result) rethrows -> Result {
        let type = H5Tcopy(mneme_h5t_c_s1())
        defer { H5Tclose(type) }
        HDF5Library.set(H5Tset_size(type, size))
        HDF5Library.set(H5Tset_cset(type, H5T_CSET_UTF8))
        return try body(type)
    }
}
