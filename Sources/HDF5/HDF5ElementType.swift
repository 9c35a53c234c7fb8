// The element types that Mneme keeps in HDF5.

import CHDF5

/// The type of a dataset's elements; in the file always little-endian. Raw bytes are `uint8`.
public enum HDF5ElementType: String, Sendable, Hashable, CaseIterable {
    case float32, float64, uint8, uint16, uint32, uint64, int32, int64

    /// Bytes an element takes, in memory and in the file.
    public var byteCount: Int {
        switch self {
        case .uint8: 1
        case .uint16: 2
        case .float32, .uint32, .int32: 4
        case .float64, .uint64, .int64: 8
        }
    }

    /// The library's type for elements in memory.
    var memoryType: hid_t {
        switch self {
        case .float32: mneme_h5t_native_float()
        case .float64: mneme_h5t_native_double()
        case .uint8: mneme_h5t_native_uint8()
        case .uint16: mneme_h5t_native_uint16()
        case .uint32: mneme_h5t_native_uint32()
        case .uint64: mneme_h5t_native_uint64()
        case .int32: mneme_h5t_native_int32()
        case .int64: mneme_h5t_native_int64()
        }
    }

    /// The library's type for elements in the file.
    var fileType: hid_t {
        switch self {
        case .float32: mneme_h5t_ieee_f32le()
        case .float64: mneme_h5t_ieee_f64le()
        case .uint8: mneme_h5t_std_u8le()
        case .uint16: mneme_h5t_std_u16le()
        case .uint32: mneme_h5t_std_u32le()
        case .uint64: mneme_h5t_std_u64le()
        case .int32: mneme_h5t_std_i32le()
        case .int64: mneme_h5t_std_i64le()
        }
    }

    /// The element type that equals the library's `type`, whatever its byte order; `nil` where there is none.
    init?(_ type: hid_t) {
        let size = H5Tget_size(type)
        switch (H5Tget_class(type), size, H5Tget_sign(type)) {
        case (H5T_FLOAT, 4, _): self = .float32
        case (H5T_FLOAT, 8, _): self = .float64
        case (H5T_INTEGER, 1, H5T_SGN_NONE): self = .uint8
        case (H5T_INTEGER, 2, H5T_SGN_NONE): self = .uint16
        case (H5T_INTEGER, 4, H5T_SGN_NONE): self = .uint32
        case (H5T_INTEGER, 8, H5T_SGN_NONE): self = .uint64
        case (H5T_INTEGER, 4, H5T_SGN_2): self = .int32
        case (H5T_INTEGER, 8, H5T_SGN_2): self = .int64
        default: return nil
        }
    }
}
