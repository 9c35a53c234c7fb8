// Compressed bytes made plain: gzip by zlib, the others by the libraries of CInputs.

import CInputs
import CZlib
import Diagnostics
import Glibc

extension FileKind.Compression {
    /// The plain bytes of a compressed stream.
    /// - Parameter path: the file, as messages name it.
    /// - Throws: `UserError(.badData)` where the library for it is missing.
    func decompressed(_ source: any ByteStream, path: String) throws -> any ByteStream {
        switch self {
        case .gzip: Inflater(source, path: path)
        case .bzip2: try LibraryDecoder(source, self, MNEME_BZIP2, path: path)
        case .xz: try LibraryDecoder(source, self, MNEME_XZ, path: path)
        case .zstd: try LibraryDecoder(source, self, MNEME_ZSTD, path: path)
        }
    }
}

/// Compressed bytes on their way into a library: a window on the stream, and how many were taken from it.
private final class CompressedInput {
    let window = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    private let source: any ByteStream
    /// The bytes not taken yet are `window[start..<end]`.
    private(set) var start = 0
    private(set) var end = 0
    private(set) var atEnd = false
    private var before = 0

    init(_ source: any ByteStream) { self.source = source }

    deinit { window.deallocate() }

    /// Compressed bytes taken so far: the place of an error.
    var position: Int { before + start }

    var unread: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: window[start..<end]) }

    func take(_ count: Int) { start += count }

    /// Reads more where all was taken.
    func refill() throws {
        guard start == end, !atEnd else { return }
        before += end
        start = 0
        end = try source.read(into: window)
        if end == 0 { atEnd = true }
    }
}

/// A gzip stream, with all its members where several follow one another.
private final class Inflater: ByteStream {
    private let path: String
    /// zlib keeps a pointer back to its stream, so the stream must not move.
    private let stream: UnsafeMutablePointer<z_stream>
    private let input: CompressedInput
    private var betweenMembers = false
    private var finished = false

    init(_ source: any ByteStream, path: String) {
        self.path = path
        input = CompressedInput(source)
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15 bits of window, plus 16: a gzip header and trailer, whose checksum zlib verifies.
        let result = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size))
        require(result == Z_OK, "zlib refused to start with code \(result)")
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        if finished { return 0 }
        while true {
            try input.refill()
            if input.atEnd {
                guard betweenMembers else { throw failure("ends in the middle of its compressed data") }
                finished = true
                return 0
            }
            if betweenMembers {
                switch input.unread[0] {
                case 0x1f:
                    inflateReset(stream)
                    betweenMembers = false
                case 0:
                    // Zero padding, as tapes and block devices leave it.
                    finished = true
                    return 0
                default:
                    throw failure("is damaged")
                }
            }
            stream.pointee.next_in = input.unread.bindMemory(to: UInt8.self).baseAddress
            stream.pointee.avail_in = UInt32(input.unread.count)
            stream.pointee.next_out = buffer.bindMemory(to: UInt8.self).baseAddress
            stream.pointee.avail_out = UInt32(min(buffer.count, 1 << 30))
            let room = Int(stream.pointee.avail_out)
            let result = inflate(stream, Z_NO_FLUSH)
            input.take(input.unread.count - Int(stream.pointee.avail_in))
            let produced = room - Int(stream.pointee.avail_out)
            switch result {
            case Z_STREAM_END: betweenMembers = true
            case Z_OK, Z_BUF_ERROR: break
            default: throw failure("is damaged\(stream.pointee.msg.map { ": " + String(cString: $0) } ?? "")")
            }
            if produced > 0 { return produced }
        }
    }

    private func failure(_ what: String) -> UserError {
        UserError(.badData, "the gzip file \(what)", at: "\(path), byte \(input.position)", advice: "copy or download the file again")
    }
}

/// A bzip2, xz or zstd stream, with all those that follow it.
private final class LibraryDecoder: ByteStream {
    private let path: String
    private let kind: FileKind.Compression
    private let compression: MnemeCompression
    private let input: CompressedInput
    private var decoder: UnsafeMutableRawPointer?
    private var finished = false

    init(_ source: any ByteStream, _ kind: FileKind.Compression, _ compression: MnemeCompression, path: String) throws {
        self.path = path
        self.kind = kind
        self.compression = compression
        input = CompressedInput(source)
        decoder = mneme_decoder_open(compression)
        guard decoder != nil else {
            throw UserError(
                .badData, "is compressed by \(kind.rawValue), which this program was built without or whose library is missing", at: path,
                advice: "unpack it with \(kind.rawValue) -d")
        }
    }

    deinit {
        if let decoder { mneme_decoder_close(decoder) }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while !finished {
            try input.refill()
            if decoder == nil {
                // Another stream, or padding, or the end.
                while !input.atEnd, let byte = input.unread.first, byte == 0 {
                    input.take(1)
                    try input.refill()
                }
                if input.atEnd {
                    finished = true
                    return 0
                }
                decoder = mneme_decoder_open(compression)
            }
            guard let decoder else { throw failure("cannot be decompressed: there is no memory") }
            var (taken, made) = (input.unread.count, buffer.count)
            let result = mneme_decoder_run(
                decoder, input.unread.bindMemory(to: UInt8.self).baseAddress, &taken, buffer.bindMemory(to: UInt8.self).baseAddress, &made,
                input.atEnd ? 1 : 0)
            input.take(taken)
            switch result {
            case MNEME_DECODING_ENDS:
                mneme_decoder_close(decoder)
                self.decoder = nil
            case MNEME_DECODING_GOES_ON:
                if made == 0, taken == 0, input.atEnd { throw failure("ends in the middle of its compressed data") }
            case MNEME_DECODING_NO_MEMORY: throw failure("cannot be decompressed: there is no memory")
            default: throw failure("is damaged")
            }
            if made > 0 { return made }
        }
        return 0
    }

    private func failure(_ what: String) -> UserError {
        UserError(.badData, "the \(kind.rawValue) file \(what)", at: "\(path), byte \(input.position)", advice: "copy or download the file again")
    }
}
