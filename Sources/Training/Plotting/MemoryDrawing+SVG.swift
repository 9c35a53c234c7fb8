// Pictures of a memory at work, as SVG.
//
// Legend: R rows, C columns of a picture.

import Diagnostics
import Foundation
import NeuralNetworks

/// Draws explanations into one SVG document.
public enum MemoryDrawing {
    /// Every picture under its name, one below the other; readable on light and dark backgrounds, without script or font files.
    public static func svg(_ explanations: [Explanation]) -> String {
        var body: [String] = []
        var y = 24.0
        var width = 480.0
        func text(_ words: String, size: Int = 13, weight: String = "normal", family: String = "sans-serif") {
            let x = 20.0
            body.append(
                "<text x=\"\(x)\" y=\"\(y)\" font-size=\"\(size)\" font-weight=\"\(weight)\" font-family=\"\(family)\" fill=\"#222222\" xml:space=\"preserve\">\(escaped(words))</text>"
            )
            width = max(width, x + Double(words.count) * Double(size) * 0.58 + 20)
        }
        for explanation in explanations {
            for line in explanation.input {
                text(line, family: "monospace")
                y += 18
            }
            let expected = explanation.expected.map { $0 == explanation.answer ? "" : " (expected: \($0))" } ?? ""
            text("\(explanation.answer)\(expected)", size: 15, weight: "bold")
            y += 28
            for picture in explanation.pictures {
                text(picture.name, size: 14, weight: "bold")
                y += 10
                let drawn = cells(of: picture, top: y)
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
        do { try Data(svg(explanations).utf8).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw UserError(
                .inputOutput, "cannot be written: \(error.localizedDescription)", at: path, advice: "name a file in a directory that exists")
        }
    }

    /// The cells of a picture with its axes. Attention over labelled things stands upright, a thing a line, so that labels can be read.
    private static func cells(of picture: MemoryTrace.Picture, top: Double) -> (parts: [String], width: Double, bottom: Double) {
        let isUpright = picture.isList
        let (down, across) = isUpright ? (picture.columns, picture.rows) : (picture.rows, picture.columns)
        let side = isUpright ? 18.0 : min(18, max(3, 900 / Double(max(across, 1))))
        let (wide, high) = (isUpright ? 46.0 : side, isUpright ? 18.0 : min(side, max(3, 600 / Double(max(down, 1)))))
        let downLabels = isUpright ? picture.columnLabels : picture.rowLabels
        let acrossLabels =
            isUpright ? (picture.rowLabels.isEmpty ? (1...max(picture.rows, 1)).map { "\(picture.rowAxis) \($0)" } : picture.rowLabels) : []
        let left = isUpright ? 20.0 : 64.0
        let first = top + 18
        var parts: [String] = []
        func label(_ words: String, _ x: Double, _ y: Double, anchor: String = "start", colour: String = "#444444") {
            parts.append("<text x=\"\(x)\" y=\"\(y)\" font-size=\"11\" text-anchor=\"\(anchor)\" fill=\"\(colour)\">\(escaped(words))</text>")
        }
        if isUpright {
            for (index, words) in acrossLabels.enumerated() { label(words, left + (Double(index) + 0.5) * wide, top + 12, anchor: "middle") }
        } else {
            label("\(picture.columnAxis) →", left, top + 12)
            label("\(picture.rowAxis) ↓", left - 6, first + 10, anchor: "end")
        }
        for row in 0..<down {
            for column in 0..<across {
                let value = isUpright ? picture.value(column, row) : picture.value(row, column)
                let strength = Double(min(1, abs(value) / picture.scale))
                guard strength > 0.004 || isUpright else { continue }
                let (x, y) = (left + Double(column) * wide, first + Double(row) * high)
                parts.append(
                    "<rect x=\"\(format(x))\" y=\"\(format(y))\" width=\"\(format(wide))\" height=\"\(format(high))\" fill=\"\(value < 0 ? "#b2182b" : "#1f5fa8")\" fill-opacity=\"\(format(strength))\"/>"
                )
                if isUpright {
                    label(String(format: "%.2f", value), x + wide / 2, y + 13, anchor: "middle", colour: strength > 0.55 ? "#ffffff" : "#444444")
                }
            }
            if isUpright { label(downLabels[row], left + Double(across) * wide + 10, first + Double(row) * high + 13) }
        }
        let bottom = first + Double(down) * high
        parts.append(
            "<rect x=\"\(left)\" y=\"\(first)\" width=\"\(format(Double(across) * wide))\" height=\"\(format(Double(down) * high))\" fill=\"none\" stroke=\"#888888\"/>"
        )
        let labelled = isUpright ? Double(downLabels.map(\.count).max() ?? 0) * 6.5 + 20 : 20
        return (parts, left + Double(across) * wide + labelled, bottom)
    }

    private static func format(_ value: Double) -> String { String(format: "%.2f", value) }
    private static func escaped(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;").replacingOccurrences(of: ">", with: "&gt;")
    }
}
