// Made-up people: the same for the same seed, facts of known sizes, biographies that say each of them once.

import Corpora
import Foundation
import TestSupport
import Testing

@Suite("Biographies") struct BiographyTests {
    private let biographies = Biographies(people: 500, seed: 11)

    @Test("names occur once, values are spread over all that there are, and a person has 47.6 bits")
    func people() {
        let bits: [Double] = [28 * 12 * 200, 200, 300, 100, 263, 2].map { log2($0) }
        #expect(abs(Biographies.bitsPerPerson - bits.reduce(0, +)) < 1e-9)
        let many = 0..<20_000
        #expect(Set(many.map { biographies.name(of: $0) }).count == many.count)
        // Of 300 universities, 20,000 people miss none but with a chance of 300 e^-67.
        #expect(Set(many.map { biographies.value(of: .university, $0) }).count == 300)
        #expect(Set(many.map { biographies.value(of: .birthDate, $0) }).count > 16_000)
        for person in 0..<200 {
            #expect(biographies.value(of: .birthDate, person).count == 3)
            for other in 0..<200 where biographies.value(of: .employer, person) == biographies.value(of: .employer, other) {
                #expect(biographies.value(of: .workCity, person) == biographies.value(of: .workCity, other))
            }
        }
        let again = Biographies(people: 3, seed: 11)
        #expect(again.name(of: 400) == biographies.name(of: 400) && again.value(of: .major, 400) == biographies.value(of: .major, 400))
        #expect(Biographies(people: 500, seed: 12).name(of: 0) != biographies.name(of: 0))
    }

    @Test("a biography is a name and seven attributes with their values, never in the words that are held out")
    func sequences() {
        let loader = BiographyLoader(biographies, lanes: 100, seed: 3)
        var orders = Set<[BiographyAttribute]>()
        for _ in 0..<10 {
            let rows = loader.batch(lanes: Array(0..<100))
            for row in rows.lanes.indices {
                let (person, symbols) = (rows.people[row], rows.symbols[row])
                #expect(symbols.count == Biographies.length && symbols.first == BiographySymbols.begin && symbols.last == BiographySymbols.end)
                #expect(Array(symbols[1..<4]) == biographies.name(of: person))
                #expect(Set(rows.places[row].map(\.attribute)).count == 7)
                orders.insert(rows.places[row].map(\.attribute))
                for place in rows.places[row] {
                    let value = biographies.value(of: place.attribute, person)
                    #expect(Array(symbols[(place.position + 1)...].prefix(place.valueLength)) == value)
                    let heldOut = biographies.heldOutPhrasing(of: place.attribute, person)
                    #expect(symbols[place.position] != BiographySymbols.symbol(place.attribute, phrasing: heldOut))
                    #expect(symbols[place.position] != BiographySymbols.symbol(place.attribute, phrasing: nil))
                }
                for (place, miss) in zip(rows.places[row], rows.nearMisses[row]) {
                    let right = biographies.question(place.attribute, of: person, phrasing: nil)
                    #expect(miss.count == 5 && miss[0] == right[0] && miss[4] == right[4])
                    #expect((1...3).count { miss[$0] != right[$0] } == 1, "\(miss) is no near miss of \(right)")
                }
            }
            loader.advance()
        }
        #expect(orders.count > 500, "the order of attributes is drawn")
    }

    @Test("an epoch has every person once; lanes and positions say what comes, whoever asks")
    func order() throws {
        let loader = BiographyLoader(biographies, lanes: 50, seed: 3)
        var seen: [Int] = []
        var third: BiographyRows?
        for step in 0..<10 {
            let rows = loader.batch(lanes: Array(0..<50))
            #expect(loader.batch(lanes: [7]).symbols == [rows.symbols[7]] && loader.batch(lanes: [7]).nearMisses == [rows.nearMisses[7]])
            seen += rows.people
            if step == 3 { third = rows }
            loader.advance()
        }
        #expect(seen.sorted() == Array(0..<500))
        let other = BiographyLoader(biographies, lanes: 50, seed: 3)
        for _ in 0..<3 { other.advance() }
        let position = other.position
        let resumed = BiographyLoader(biographies, lanes: 50, seed: 3)
        try resumed.seek(to: position)
        #expect(resumed.batch(lanes: Array(0..<50)) == third)
        #expect(throws: (any Error).self) { try resumed.seek(to: LoaderPosition(global: [0, 500])) }
    }

    @Test("a key in words is read back as its symbols, and what is not known is named")
    func text() throws {
        for person in 0..<300 {
            for attribute in BiographyAttribute.allCases {
                let text = biographies.keyText(attribute, of: person)
                #expect(try Biographies.question(text) == biographies.question(attribute, of: person, phrasing: nil), "\(text)")
                for phrasing in 0..<BiographySymbols.phrasingCount {
                    let asked = "\(biographies.nameText(of: person)) | \(attribute.phrasings[phrasing])"
                    #expect(try Biographies.question(asked) == biographies.question(attribute, of: person, phrasing: phrasing))
                }
            }
        }
        for text in ["", "Anna | major", "\(biographies.nameText(of: 0))", "Anna Berta Clara | major", "\(biographies.nameText(of: 0)) | shoe size"] {
            #expect(throws: (any Error).self) { try Biographies.question(text) }
        }
        // No word of a way to ask is a word of the attribute's name or of another way.
        for attribute in BiographyAttribute.allCases {
            let ways = ([attribute.name] + attribute.phrasings).map { Set($0.split(separator: " ")) }
            for (place, way) in ways.enumerated() { for other in ways[(place + 1)...] { #expect(way.isDisjoint(with: other), "\(attribute): \(way)") } }
        }
        #expect((0..<BiographySymbols.count).allSatisfy { BiographySymbols.text(Int32($0)) != "?" } && BiographySymbols.text(99_999) == "?")
    }
}
