// Pictures of a memory at work, as SVG.
//
// Legend: R rows, C columns of a picture.

import Diagnostics
import Foundation
import NeuralNetworks
import Storage

/// Draws explanations into one SVG document.
public enum MemoryDrawing {
    /// Every picture under its name, one below the other; readable on light and dark backgrounds, without script or font files.
    public static func svg(_ explanations: [Explanation]) -> String {
        var body: [String] = []
        var y = 24.0
        var width = 480.0
        func text(_ words: String, size: Int = 13, isBold: Bool = false, family: String = "sans-serif") {
            let style = "font-size=\"\(size)\" font-weight=\"\(isBold ? "bold" : "normal")\" font-family=\"\(family)\""
            body.append("<text x=\"20\" y=\"\(y)\" \(style) fill=\"#222222\" xml:space=\"preserve\">\(escaped(words))</text>")
            // No font is wider than these shares of its size, on average, among those that browsers and rsvg take.
            width = max(width, 40 + Double(words.count * size) * (isBold ? 0.72 : 0.62))
        }
        for explanation in explanations {
            for line in explanation.input {
                text(line, family: "monospace")
                y += 18
            }
            let expected = explanation.expected.map { $0 == explanation.answer ? "" : " (expected: \($0))" } ?? ""
            y += 6
            text("\(explanation.answer)\(expected)", size: 15, isBold: true)
            y += 28
            for picture in explanation.pictures {
                text(picture.name, size: 14, isBold: true)
                y += 10
                let drawn = picture.isList ? list(of: picture, top: y) : map(of: picture, top: y)
                body += drawn.parts
                width = max(width, drawn.width)
                y = drawn.bottom + 30
            }
        }
        let size = "width=\"\(Int(width))\" height=\"\(Int(y))\""
        let head = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(y))\" \(size) font-family=\"sans-serif\">"
        return ([head, "<rect width=\"\(Int(width))\" height=\"\(Int(y))\" fill=\"#ffffff\"/>"] + body + ["</svg>\n"]).joined(separator: "\n")
    }

    /// Writes the document.
    /// - Throws: `UserError` (.inputOutput).
    public static func write(_ explanations: [Explanation], to path: String) throws {
        try DurableFile.replace(path, by: Data(svg(explanations).utf8))
    }

    /// Marks of one picture.
    private struct Marks {
        var parts: [String] = []
        var width = 0.0
        var bottom = 0.0

        mutating func label(_ words: String, _ x: Double, _ y: Double, anchor: String = "start", colour: String = "#444444") {
            let place = "x=\"\(format(x))\" y=\"\(format(y))\" font-size=\"11\" text-anchor=\"\(anchor)\""
            parts.append("<text \(place) fill=\"\(colour)\">\(escaped(words))</text>")
            if anchor == "start" { width = max(width, x + Double(words.count) * labelWidth + 20) }
        }

        mutating func cell(_ x: Double, _ y: Double, _ wide: Double, _ high: Double, strength: Double, isNegative: Bool) {
            let place = "x=\"\(format(x))\" y=\"\(format(y))\" width=\"\(format(wide))\" height=\"\(format(high))\""
            parts.append("<rect \(place) fill=\"\(isNegative ? "#b2182b" : "#1f5fa8")\" fill-opacity=\"\(format(strength))\"/>")
        }

        /// A frame around all cells, which ends the picture.
        mutating func frame(_ x: Double, _ y: Double, _ wide: Double, _ high: Double) {
            let place = "x=\"\(format(x))\" y=\"\(format(y))\" width=\"\(format(wide))\" height=\"\(format(high))\""
            parts.append("<rect \(place) fill=\"none\" stroke=\"#888888\"/>")
            (width, bottom) = (max(width, x + wide + 20), y + high)
        }
    }

    /// A character of a label, at most, on average.
    private static let labelWidth = 6.8

    /// Attention over labelled things: a thing a line, so that labels can be read; values in the cells.
    private static func list(of picture: MemoryTrace.Picture, top: Double) -> Marks {
        let (left, first, wide, high) = (20.0, top + 18, 46.0, 18.0)
        var marks = Marks()
        for row in 0..<picture.rows {
            let head = picture.rowLabels.isEmpty ? "\(picture.rowAxis) \(row + 1)" : picture.rowLabels[row]
            marks.label(head, left + (Double(row) + 0.5) * wide, top + 12, anchor: "middle")
        }
        for column in 0..<picture.columns {
            let y = first + Double(column) * high
            for row in 0..<picture.rows {
                let (value, x) = (picture.value(row, column), left + Double(row) * wide)
                let strength = Double(min(1, abs(value) / picture.scale))
                marks.cell(x, y, wide, high, strength: strength, isNegative: value < 0)
                let colour = strength > 0.55 ? "#ffffff" : "#444444"
                marks.label(String(format: "%.2f", value), x + wide / 2, y + 13, anchor: "middle", colour: colour)
            }
            marks.label(picture.columnLabels[column], left + Double(picture.rows) * wide + 10, y + 13)
        }
        marks.frame(left, first, Double(picture.rows) * wide, Double(picture.columns) * high)
        return marks
    }

    /// A small square a cell, rows downwards; what the axes are and what the darkest stands for above it, labels or numbers of rows at the left.
    private static func map(of picture: MemoryTrace.Picture, top: Double) -> Marks {
        let (rows, columns, scale) = (picture.rows, picture.columns, picture.scale)
        let (wide, high) = (min(18, max(3, 900 / Double(max(columns, 1)))), min(18, max(3, 600 / Double(max(rows, 1)))))
        let labels = (0..<rows).map { picture.rowLabels.isEmpty ? "\($0)" : picture.rowLabels[$0] }
        let left = 26 + Double(labels.map(\.count).max() ?? 0) * labelWidth
        let first = top + 18
        var marks = Marks()
        marks.label("\(picture.rowAxis) ↓, \(picture.columnAxis) →, darkest is \(String(format: "%.3g", scale))", 20, top + 12)
        // Numbers stand no closer than their height.
        for row in stride(from: 0, to: rows, by: picture.rowLabels.isEmpty ? max(1, Int((14 / high).rounded(.up))) : 1) {
            marks.label(labels[row], left - 6, first + (Double(row) + 0.5) * high + 4, anchor: "end")
        }
        for row in 0..<rows {
            for column in 0..<columns {
                let value = picture.value(row, column)
                let strength = Double(min(1, abs(value) / scale))
                // Of a cell as pale as this nothing is seen.
                guard strength > 0.004 else { continue }
                marks.cell(
                    left + Double(column) * wide, first + Double(row) * high, wide, high, strength: strength, isNegative: value < 0)
            }
        }
        marks.frame(left, first, Double(columns) * wide, Double(rows) * high)
        return marks
    }

    private static func format(_ value: Double) -> String { String(format: "%.2f", value) }
    private static func escaped(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;").replacingOccurrences(of: ">", with: "&gt;")
    }
}
