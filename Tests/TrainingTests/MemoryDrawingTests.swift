import Foundation
import FoundationXML
import NeuralNetworks
import Testing
import Training

@Suite("Pictures of memory")
struct MemoryDrawingTests {
    private var hops: MemoryTrace.Picture {
        let trace = MemoryTrace()
        trace.record(
            "attention", rowAxis: "hop", columnAxis: "sentence", columnLabels: ["Mary went to the garden.", "John & Sandra <left>."], rows: 2,
            columns: 2, values: [0.9, 0.1, 0.25, 0.75])
        return trace.pictures[0]
    }

    @Test("attention over sentences is a line a sentence, with a value and a bar a hop")
    func list() {
        let lines = hops.drawing(columns: 80).split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0].contains("hop 1") && lines[0].contains("hop 2") && lines[0].hasSuffix("sentence"))
        #expect(lines[1].contains("0.90 █████") && lines[1].contains("0.25 █") && lines[1].hasSuffix("Mary went to the garden."))
        #expect(lines[2].contains("0.10") && lines[2].contains("0.75 ████"))
    }

    @Test("a map has a character a cell, and pools columns where the line is short")
    func map() {
        let trace = MemoryTrace()
        trace.record("weights", rowAxis: "slot", columnAxis: "step", rows: 2, columns: 40, values: (0..<80).map { $0 == 39 ? 1 : $0 == 40 ? 0.5 : 0 })
        let wide = trace.pictures[0].drawing(columns: 100).split(separator: "\n")
        #expect(wide[1] == "  0│" + String(repeating: " ", count: 39) + "█│")
        #expect(wide[2] == "  1│▒" + String(repeating: " ", count: 39) + "│")
        let narrow = trace.pictures[0].drawing(columns: 26).split(separator: "\n")
        #expect(narrow[0].contains("2 a character"))
        #expect(narrow[1] == "  0│" + String(repeating: " ", count: 19) + "█│")
    }

    @Test("five or more blank rows are one line, but not where rows have labels")
    func blankRows() {
        func lines(_ values: [Float], labels: [String] = []) -> [Substring] {
            let trace = MemoryTrace()
            trace.record("weights", rowAxis: "row", columnAxis: "step", rowLabels: labels, rows: values.count, columns: 1, values: values)
            return Array(trace.pictures[0].drawing(columns: 80).split(separator: "\n").dropFirst())
        }
        #expect(lines([1, 0, 0, 0, 0, 0, 1]) == ["  0│█│", "  ⋮│ │", "  6│█│"])
        #expect(lines([1, 0, 0, 0, 0, 1]).count == 6)
        #expect(lines([0, 0, 0, 0, 0, 0, 0.01, 1, 0, 0, 0, 0, 0]) == ["   ⋮│ │", "   7│█│", "   ⋮│ │"])
        #expect(lines([1, 0, 0, 0, 0, 0, 1], labels: (0..<7).map { "gate \($0)" }).count == 7)
    }

    @Test("a map in SVG says what its axes and its darkest cell are, and names its rows; nothing is drawn outside")
    func svgMap() throws {
        let trace = MemoryTrace()
        trace.record(
            "gates", rowAxis: "a gate with a long name", columnAxis: "step", rowLabels: ["allocation", "write"], rows: 2, columns: 3,
            values: [0.5, 0, 0, 0, 0, -0.25])
        trace.record("weights", rowAxis: "row", columnAxis: "step", rows: 128, columns: 2, values: [Float](repeating: 0.5, count: 256))
        let text = MemoryDrawing.svg([Explanation(input: ["x"], answer: String(repeating: "0101 ", count: 40), pictures: trace.pictures)])
        let collector = TextCollector()
        let parser = XMLParser(data: Data(text.utf8))
        parser.delegate = collector
        #expect(parser.parse())
        #expect(collector.texts.contains("a gate with a long name ↓, step →, darkest is 0.5"))
        #expect(collector.texts.contains("allocation") && collector.texts.contains("write"))
        let numbers = collector.texts.compactMap { Int($0) }
        #expect(numbers.first == 0 && numbers.count > 20 && numbers.count < 64 && numbers.last.map { $0 > 120 } == true)
        let width = try #require(text.firstMatch(of: /width="(\d+)"/).flatMap { Double($0.output.1) })
        #expect(width > 200 * 15 * 0.7, "room for the answer in bold")
        for place in text.matches(of: /\sx="(-?[\d.]+)"/) { #expect(Double(place.output.1).map { 0...width ~= $0 } == true) }
    }

    @Test("the SVG is well-formed, says what was read and answered, and escapes it")
    func svg() throws {
        let explanation = Explanation(input: ["Where is <Mary>?"], answer: "garden", expected: "kitchen", pictures: [hops])
        let text = MemoryDrawing.svg([explanation])
        let counter = TextCollector()
        let parser = XMLParser(data: Data(text.utf8))
        parser.delegate = counter
        #expect(parser.parse())
        #expect(counter.texts.contains("Where is <Mary>?"))
        #expect(counter.texts.contains("garden (expected: kitchen)"))
        #expect(counter.texts.contains("John & Sandra <left>."))
        #expect(counter.texts.contains("0.75"))
    }

    @Test("an explanation without pictures keeps the answer")
    func withoutPictures() {
        let explanation = Explanation(input: ["?"], answer: "a", pictures: [hops])
        #expect(explanation.withoutPictures == Explanation(input: ["?"], answer: "a", pictures: []))
    }

    private final class TextCollector: NSObject, XMLParserDelegate {
        var texts: [String] = []
        private var current = ""

        func parser(_ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?, attributes: [String: String]) {
            current = ""
        }
        func parser(_ parser: XMLParser, foundCharacters string: String) { current += string }
        func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) { texts.append(current) }
    }
}
