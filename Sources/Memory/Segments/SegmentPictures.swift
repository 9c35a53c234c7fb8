// Pictures of a memory that is read and written segment by segment, of the first sequence.
//
// Legend: n positions that are read of a segment, D width.

import NeuralNetworks
import Tensors

/// Pictures that grow as segments are read.
final class SegmentPictures {
    private struct Picture {
        let name: String
        let rowAxis: String
        let columnAxis: String
        var labels: [String] = []
        var rows: [[Float]] = []
    }

    /// In the order in which they were first added to.
    private var pictures: [Picture] = []

    private func index(_ name: String, rowAxis: String, columnAxis: String) -> Int {
        if let known = pictures.firstIndex(where: { $0.name == name }) { return known }
        pictures.append(Picture(name: name, rowAxis: rowAxis, columnAxis: columnAxis))
        return pictures.count - 1
    }

    /// Adds steps to a row, which is there from then on.
    func extend(_ name: String, row: Int, of rowAxis: String, label: String? = nil, by values: [Float]) {
        let index = index(name, rowAxis: rowAxis, columnAxis: "step")
        while pictures[index].rows.count <= row { pictures[index].rows.append([]) }
        if let label, pictures[index].labels.count == row { pictures[index].labels.append(label) }
        pictures[index].rows[row] += values
    }

    /// Adds what happened at the end of a segment.
    func append(_ name: String, columnAxis: String, _ values: [Float]) {
        pictures[index(name, rowAxis: "segment", columnAxis: columnAxis)].rows.append(values)
    }

    /// Notes how long what a layer read is beside what it was added to, at each of n positions.
    /// - Parameters:
    ///   - found: float32 [B, n, D]; `nil` where there was nothing to read.
    ///   - x: float32 [B, n, D].
    ///   - positions: n.
    func noteRead(_ found: Tensor?, of x: Tensor, layer: Int, positions: Int) {
        let width = x.shape[2]
        func length(_ tensor: Tensor, _ position: Int) -> Float {
            (0..<width).reduce(Float(0)) { $0 + tensor.floats[position * width + $1] * tensor.floats[position * width + $1] }.squareRoot()
        }
        let shares = (0..<positions).map { position in found.map { length($0, position) / max(length(x, position), 1e-9) } ?? 0 }
        extend("what is read, beside what it is added to", row: layer, of: "layer", label: "layer \(layer)", by: shares)
    }

    /// Adds all pictures to a trace.
    func record(in trace: MemoryTrace) {
        for picture in pictures {
            trace.record(
                picture.name, rowAxis: picture.rowAxis, columnAxis: picture.columnAxis, rowLabels: picture.labels, rows: picture.rows.count,
                columns: picture.rows.first?.count ?? 0, values: picture.rows.flatMap { $0 })
        }
    }
}
