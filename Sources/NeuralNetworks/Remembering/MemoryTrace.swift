// What a memory did during one pass, in a form that can be shown to a person.
//
// Legend: R rows, C columns of one picture.

import Diagnostics
import Tensors

/// Collects pictures of a memory at work: attention by hop, read and write weights over time, usage.
///
/// A model records what its memory did for the first sequence of the batch, where the pass has a trace; without one it does no work for it.
public final class MemoryTrace {
    /// One matrix with the names of its axes.
    public struct Picture: Sendable, Equatable, Codable {
        /// What is shown, such as `hop 1` or `write weights`.
        public var name: String
        /// What the rows count, such as `sentence`.
        public var rowAxis: String
        /// What the columns count, such as `step`.
        public var columnAxis: String
        /// A label for each row, [R]; empty where the number is enough.
        public var rowLabels: [String]
        /// A label for each column, [C]; empty where the number is enough.
        public var columnLabels: [String]
        /// R.
        public var rows: Int
        /// C.
        public var columns: Int
        /// [R, C], row by row.
        public var values: [Float]
    }

    /// In the order of recording.
    public private(set) var pictures: [Picture] = []

    /// A trace without pictures.
    public init() {}

    /// Adds a picture.
    /// - Precondition: there are R x C values.
    public func record(
        _ name: String, rowAxis: String, columnAxis: String, rowLabels: [String] = [], columnLabels: [String] = [], rows: Int, columns: Int,
        values: [Float]
    ) {
        require(values.count == rows * columns, "\(name): \(values.count) values for \(rows) rows and \(columns) columns")
        pictures.append(
            Picture(
                name: name, rowAxis: rowAxis, columnAxis: columnAxis, rowLabels: rowLabels, columnLabels: columnLabels, rows: rows, columns: columns,
                values: values))
    }
}
