// The bytes of TensorBoard's event files: protocol buffers inside TFRecord frames.
//
// Field numbers are those of TensorFlow's event.proto, summary.proto and tensor.proto; a frame is the length, its masked CRC-32C, the message and its
// masked CRC-32C.

/// A protocol buffer message under construction.
struct ProtocolBuffer {
    private(set) var bytes: [UInt8] = []

    mutating func add(_ field: Int, double value: Double) {
        tag(field, 1)
        append(value.bitPattern)
    }

    mutating func add(_ field: Int, float value: Float) {
        tag(field, 5)
        append(value.bitPattern)
    }

    mutating func add(_ field: Int, integer value: Int) {
        tag(field, 0)
        variable(UInt64(bitPattern: Int64(value)))
    }

    mutating func add(_ field: Int, text: String) { add(field, content: Array(text.utf8)) }
    mutating func add(_ field: Int, message: ProtocolBuffer) { add(field, content: message.bytes) }

    /// A packed repeated field.
    mutating func add(_ field: Int, doubles: [Double]) {
        var packed = ProtocolBuffer()
        for value in doubles { packed.append(value.bitPattern) }
        add(field, message: packed)
    }

    private mutating func add(_ field: Int, content: [UInt8]) {
        tag(field, 2)
        variable(UInt64(content.count))
        bytes += content
    }

    private mutating func tag(_ field: Int, _ wireType: UInt64) { variable(UInt64(field) << 3 | wireType) }

    private mutating func variable(_ value: UInt64) {
        var rest = value
        while rest > 127 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 128)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private mutating func append(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
}

/// One event of a run, as TensorBoard reads it.
struct TensorBoardEvent {
    private var event = ProtocolBuffer()

    private init(_ time: Double, step: Int?) {
        event.add(1, double: time)
        if let step { event.add(2, integer: step) }
    }

    /// The first event of every file.
    /// - Parameter time: seconds since 1970, here and below.
    static func version(_ time: Double) -> TensorBoardEvent {
        var result = TensorBoardEvent(time, step: nil)
        result.event.add(3, text: "brain.Event:2")
        return result
    }

    /// A session begins: what earlier files say of this step and later ones no longer counts.
    static func start(_ time: Double, step: Int) -> TensorBoardEvent {
        var (result, log) = (TensorBoardEvent(time, step: step), ProtocolBuffer())
        log.add(1, integer: 1)
        result.event.add(7, message: log)
        return result
    }

    /// The summary values of one step.
    static func summary(_ time: Double, step: Int, _ values: [ProtocolBuffer]) -> TensorBoardEvent {
        var (result, summary) = (TensorBoardEvent(time, step: step), ProtocolBuffer())
        for value in values { summary.add(1, message: value) }
        result.event.add(5, message: summary)
        return result
    }

    /// A scalar with what it means.
    static func scalar(_ tag: String, _ value: Double, meaning: String) -> ProtocolBuffer {
        var result = self.value(tag, plugin: "scalars", meaning: meaning)
        result.add(2, float: Float(value))
        return result
    }

    /// A text, which is shown as Markdown.
    static func text(_ tag: String, _ text: String) -> ProtocolBuffer {
        var (result, tensor) = (value(tag, plugin: "text", meaning: ""), ProtocolBuffer())
        tensor.add(1, integer: 7)
        tensor.add(2, message: ProtocolBuffer())
        tensor.add(8, text: text)
        result.add(8, message: tensor)
        return result
    }

    /// How values are distributed.
    static func histogram(_ tag: String, _ histogram: GradientHistogram) -> ProtocolBuffer {
        var (result, message) = (ProtocolBuffer(), ProtocolBuffer())
        result.add(1, text: tag)
        message.add(1, double: histogram.minimum)
        message.add(2, double: histogram.maximum)
        message.add(3, double: Double(histogram.count))
        message.add(4, double: histogram.sum)
        message.add(5, double: histogram.sumOfSquares)
        message.add(6, doubles: histogram.buckets.map(\.limit))
        message.add(7, doubles: histogram.buckets.map { Double($0.count) })
        result.add(5, message: message)
        return result
    }

    private static func value(_ tag: String, plugin: String, meaning: String) -> ProtocolBuffer {
        var (result, metadata, data) = (ProtocolBuffer(), ProtocolBuffer(), ProtocolBuffer())
        result.add(1, text: tag)
        data.add(1, text: plugin)
        metadata.add(1, message: data)
        if !meaning.isEmpty { metadata.add(3, text: meaning) }
        result.add(9, message: metadata)
        return result
    }

    /// The event in its frame.
    var record: [UInt8] {
        let length = Self.bytes(UInt64(event.bytes.count))
        return length + Self.bytes(Self.masked(length)) + event.bytes + Self.bytes(Self.masked(event.bytes))
    }

    /// Checksums are masked, since a checksum of data that hold their own checksum would be weak.
    private static func masked(_ bytes: [UInt8]) -> UInt32 {
        let checksum = CRC32C.of(bytes)
        return (checksum >> 15 | checksum << 17) &+ 0xA282_EAD8
    }

    private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
}
