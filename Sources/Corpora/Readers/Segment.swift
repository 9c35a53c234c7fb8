// One segment of a machine translation test set, and the rules by which the sides of a document are joined.

import Diagnostics

/// The text of one `<seg>`.
struct Segment {
    var identifier: String
    var text: [UInt8]
    var place: RecordPlace
    /// Set when the text is not UTF-8.
    var fault: RecordError?

    /// - Parameter text: bytes between the tags; white space at the ends goes, line breaks inside become spaces.
    init(identifier: String, text: [UInt8], place: RecordPlace) {
        self.identifier = identifier
        self.place = place
        self.text = text.withUnsafeBufferPointer { Array($0.trimmed) }
        for i in self.text.indices where self.text[i] == 0x0a || self.text[i] == 0x0d { self.text[i] = 0x20 }
        if let wrong = text.withUnsafeBufferPointer(firstByteOfNoText) {
            fault = RecordError("\(wrong.what) in segment \(identifier)\(wrong.question)", at: place)
        }
    }
}

/// Joins the segments of a document's two sides by their identifiers, in the order of the source.
///
/// - Returns: for each segment of either side a record or what is wrong with it: a segment that one side lacks is an error that names the
///   document and the segment.
func alignedSegments(document: String, source: [Segment], target: [Segment], targetPlace: RecordPlace) -> [Result<CorpusRecord, RecordError>] {
    var byIdentifier: [String: Int] = [:]
    for (index, segment) in target.enumerated() where byIdentifier[segment.identifier] == nil { byIdentifier[segment.identifier] = index }
    var used = Set<Int>()
    var records: [Result<CorpusRecord, RecordError>] = []
    for segment in source {
        guard let index = byIdentifier[segment.identifier] else {
            records.append(
                .failure(RecordError("segment \(segment.identifier) of document \(document) has no target in \(targetPlace.file)", at: segment.place))
            )
            continue
        }
        guard used.insert(index).inserted else {
            records.append(.failure(RecordError("segment \(segment.identifier) of document \(document) occurs twice", at: segment.place)))
            continue
        }
        if let fault = segment.fault ?? target[index].fault {
            records.append(.failure(fault))
        } else {
            records.append(.success(CorpusRecord(source: segment.text, target: target[index].text, place: segment.place)))
        }
    }
    for (index, segment) in target.enumerated() where !used.contains(index) {
        let isSecond = byIdentifier[segment.identifier].map(used.contains) == true
        let what = isSecond ? "occurs twice in \(targetPlace.file)" : "has no source"
        records.append(.failure(RecordError("segment \(segment.identifier) of document \(document) \(what)", at: segment.place)))
    }
    return records
}
