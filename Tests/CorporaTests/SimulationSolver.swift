// An independent solver of bAbI questions: it knows sentences, not the simulator. It reads the text of a story and answers from it alone.

import TestSupport
import Testing

/// A line of a bAbI file.
struct ParsedLine {
    var number: Int
    var text: String
    var answer: String?
    var supporting: [Int] = []
}

/// A story as a file tells it.
struct ParsedStory {
    var lines: [ParsedLine] = []

    /// Splits a file's text into stories.
    static func parse(_ text: String) -> [ParsedStory] {
        var stories: [ParsedStory] = []
        for line in text.split(separator: "\n") {
            let columns = line.split(separator: "\t", omittingEmptySubsequences: false)
            let words = columns[0].split(separator: " ")
            let number = Int(words[0]) ?? -1
            var parsed = ParsedLine(number: number, text: words.dropFirst().joined(separator: " "))
            if columns.count > 1 {
                parsed.answer = String(columns[1])
                parsed.supporting = columns.count > 2 ? columns[2].split(separator: " ").compactMap { Int($0) } : []
            }
            if number == 1 { stories.append(ParsedStory()) }
            stories[stories.count - 1].lines.append(parsed)
        }
        return stories
    }
}

/// Answers questions of all tasks from sentences told in order.
struct StorySolver {
    private var place: [String: String] = [:]
    /// What each person carries or carried, in the order in which it first came.
    private var acquaintances: [String: [String]] = [:]
    private var holder: [String: String] = [:]
    private var leftAt: [String: String] = [:]
    private var trail: [String: [String]] = [:]
    private var statement: [String: [String]] = [:]
    private var gifts: [(giver: String, thing: String, receiver: String)] = []
    private var subjects: [String] = []
    private var timed: [String: [Int: String]] = [:]
    private var kind: [String: String] = [:]
    private var namesByKind: [String: [String]] = [:]
    private var fear: [String: String] = [:]
    private var color: [String: String] = [:]
    private var feeling: [String: String] = [:]
    /// The first lies, is bigger, or is found in `relation` to the second.
    private var relations: [(subject: String, relation: String, object: String)] = []

    private static let moves: Set<String> = ["went", "moved", "journeyed", "travelled"]
    private static let gives: Set<String> = ["gave", "handed", "passed"]
    private static let takes: Set<String> = ["got", "took", "grabbed", "picked"]
    private static let drops: Set<String> = ["dropped", "left", "discarded", "put"]
    private static let opposite = [
        "north": "south", "south": "north", "east": "west", "west": "east", "above": "below", "below": "above", "left": "right", "right": "left",
    ]
    private static let times = ["yesterday": 0, "this morning": 1, "this afternoon": 2, "this evening": 3]
    private static let singular = ["mice": "mouse", "sheep": "sheep", "wolves": "wolf", "cats": "cat"]
    private static let motives = ["tired": "bedroom", "hungry": "kitchen", "thirsty": "kitchen", "bored": "garden"]

    private static func words(_ sentence: String) -> [String] {
        sentence.split { $0 == " " || $0 == "." || $0 == "?" }.map(String.init)
    }

    /// Takes a sentence in.
    mutating func tell(_ sentence: String) {
        var words = Self.words(sentence)
        if Self.opens(&words) { return tellMove(subjects, words) }
        if let time = Self.takeTime(&words) {
            timed[words[0], default: [:]][time] = words[words.count - 1]
        } else if words[1] == "are" {
            fear[Self.singular[words[0].lowercased()] ?? ""] = Self.singular[words[4]] ?? ""
        } else if words[1] == "is", words[2] == "in" || words[2] == "not" || words[2] == "no" || words[2] == "either" {
            statement[words[0]] = Array(words[2...])
            if words[2] == "in" { place[words[0]] = words[4] }
        } else if words[0] == "The" {
            tellRelation(Array(words.dropFirst()))
        } else if words[1] == "is", words.count == 4, words[2] == "a" {
            kind[words[0].lowercased()] = words[3]
            namesByKind[words[3], default: []].append(words[0])
        } else if words[1] == "is", words.count == 3 {
            if Self.motives[words[2]] != nil { feeling[words[0].lowercased()] = words[2] } else { color[words[0]] = words[2] }
        } else if words[1] == "and" {
            tellMove([words[0], words[2]], words)
        } else if Self.moves.contains(words[1]) {
            tellMove([words[0]], words)
        } else {
            tellHandling(words)
        }
    }

    /// Removes an opening that refers to the sentence before; false when there is none.
    private static func opens(_ words: inout [String]) -> Bool {
        for opening in [["After", "that"], ["Following", "that"], ["Afterwards"], ["Then"]] where words.starts(with: opening) {
            words.removeFirst(opening.count)
            return true
        }
        return false
    }

    /// Removes a time of day at either end.
    private static func takeTime(_ words: inout [String]) -> Int? {
        for count in 1...2 {
            if let time = times[words.prefix(count).joined(separator: " ").lowercased()] {
                words.removeFirst(count)
                return time
            }
            if let time = times[words.suffix(count).joined(separator: " ")] {
                words.removeLast(count)
                return time
            }
        }
        return nil
    }

    private mutating func tellMove(_ people: [String], _ words: [String]) {
        let target = words[words.count - 1]
        subjects = people
        for person in people {
            place[person] = target
            statement[person] = ["in", "the", target]
            for thing in carried(by: person) where trail[thing]?.last != target { trail[thing, default: []].append(target) }
        }
    }

    private mutating func tellHandling(_ sentence: [String]) {
        var words = sentence
        if words.last == "there" { words.removeLast() }
        let person = words[0]
        if Self.gives.contains(words[1]) {
            let receiver = words[5]
            hand(words[3], to: receiver)
            gifts.append((person, words[3], receiver))
        } else if Self.takes.contains(words[1]) {
            let thing = words[words.count - 1]
            hand(thing, to: person)
            leftAt[thing] = nil
            if let here = place[person], trail[thing]?.last != here { trail[thing, default: []].append(here) }
        } else if Self.drops.contains(words[1]) {
            let thing = words[words.count - 1]
            holder[thing] = nil
            leftAt[thing] = place[person]
        } else {
            Issue.record("unknown sentence: \(sentence)")
        }
    }

    private mutating func hand(_ thing: String, to person: String) {
        holder[thing] = person
        if acquaintances[person]?.contains(thing) != true { acquaintances[person, default: []].append(thing) }
    }

    private func carried(by person: String) -> [String] {
        (acquaintances[person] ?? []).filter { holder[$0] == person }
    }

    /// "pink rectangle is to the left of the blue square", "office is north of the kitchen", "box fits inside the chest".
    private mutating func tellRelation(_ words: [String]) {
        guard let verb = words.firstIndex(where: { $0 == "is" || $0 == "fits" }), let article = words.lastIndex(of: "the") else {
            Issue.record("unknown sentence: \(words)")
            return
        }
        let subject = words[..<verb].joined(separator: " ")
        let object = words[(article + 1)...].joined(separator: " ")
        if words[verb] == "fits" {
            relations.append((object, "bigger", subject))
            return
        }
        guard let relation = words[(verb + 1)...].first(where: { $0 == "bigger" || Self.opposite[$0] != nil }) else { return }
        relations.append((subject, relation, object))
        if let back = Self.opposite[relation] { relations.append((object, back, subject)) }
    }

    /// The answer to a question; `nil` when the sentences told do not give one.
    func answer(_ question: String) -> String? {
        let words = Self.words(question)
        switch (words[0], words[1]) {
        case ("Where", "is"): return words.count == 3 ? place[words[2]] : placeOfThing(words[3])
        case ("Where", "was"): return timed.isEmpty ? trailAnswer(words[3], before: words[6]) : timedAnswer(words[2], before: words[5])
        case ("Where", "will"): return feeling[words[2]].flatMap { Self.motives[$0] }
        case ("Why", "did"): return feeling[words[2]]
        case ("How", "many"): return ["none", "one", "two", "three"][carried(by: words[4]).count]
        case ("How", "do"): return path(from: words[6], to: words[9])
        case ("What", "did"): return gifts.last { $0.giver == words[2] && $0.receiver == words[5] }?.thing
        case ("What", "color"): return inducedColor(words[3])
        case ("What", "is"): return whatIs(words)
        case ("Who", "did"): return gifts.last { $0.giver == words[2] && $0.thing == words[5] }?.receiver
        case ("Who", "received"): return gifts.last { $0.thing == words[3] }?.receiver
        case ("Who", "gave"): return gifts.last { $0.thing == words[3] && (words.count < 6 || $0.receiver == words[5]) }?.giver
        case ("Is", "the"), ("Does", "the"): return relationAnswer(Array(words.dropFirst(2)))
        case ("Is", _): return statementAnswer(words[1], in: words[4])
        default: return nil
        }
    }

    private func placeOfThing(_ thing: String) -> String? {
        holder[thing].map { place[$0] } ?? leftAt[thing]
    }

    private func trailAnswer(_ thing: String, before target: String) -> String? {
        guard let trail = trail[thing], let index = trail.lastIndex(of: target), index > 0 else { return nil }
        return trail[index - 1]
    }

    private func timedAnswer(_ person: String, before target: String) -> String? {
        let times = (timed[person] ?? [:]).sorted { $0.key < $1.key }
        guard let index = times.lastIndex(where: { $0.value == target }), index > 0 else { return nil }
        return times[index - 1].value
    }

    private func statementAnswer(_ person: String, in target: String) -> String? {
        guard let words = statement[person] else { return nil }
        switch words[0] {
        case "in": return words[2] == target ? "yes" : "no"
        case "either": return words[3] == target || words[6] == target ? "maybe" : "no"
        default: return words[words.count - 1] == target ? "no" : nil
        }
    }

    private func whatIs(_ words: [String]) -> String? {
        if words[words.count - 1] == "carrying" {
            let things = carried(by: words[2])
            return things.isEmpty ? "nothing" : things.joined(separator: ",")
        }
        if words[3] == "afraid" { return kind[words[2]].flatMap { fear[$0] } }
        if words[2] == "the" { return relations.first { $0.subject == words[3] && $0.relation == words[4] }?.object }
        return relations.first { $0.object == words[5] && $0.relation == words[2] }?.subject
    }

    /// The colour of the animal that was last said to be of the same kind.
    private func inducedColor(_ name: String) -> String? {
        guard let kind = kind[name.lowercased()], let other = namesByKind[kind]?.last(where: { color[$0] != nil && $0 != name }) else { return nil }
        return color[other]
    }

    private func relationAnswer(_ words: [String]) -> String? {
        guard let article = words.lastIndex(of: "the") else { return nil }
        let object = words[(article + 1)...].joined(separator: " ")
        guard let relation = words.firstIndex(where: { $0 == "bigger" || $0 == "fit" || Self.opposite[$0] != nil }) else { return nil }
        let end = words[..<relation].firstIndex(of: "to") ?? relation
        let subject = words[..<end].joined(separator: " ")
        switch words[relation] {
        case "bigger": return comparison(subject, object)
        case "fit": return comparison(object, subject)
        default: return position(subject, words[relation], object)
        }
    }

    /// "yes" when a chain of facts makes `large` bigger than `small`, "no" when one makes it smaller.
    private func comparison(_ large: String, _ small: String) -> String? {
        if isBigger(large, small) { return "yes" }
        return isBigger(small, large) ? "no" : nil
    }

    private func isBigger(_ large: String, _ small: String) -> Bool {
        var reached: Set<String> = [large]
        while true {
            let more = relations.filter { reached.contains($0.subject) && !reached.contains($0.object) }.map(\.object)
            if more.isEmpty { return reached.contains(small) }
            reached.formUnion(more)
        }
    }

    /// Coordinates of everything that facts join to `origin`.
    private func coordinates(from origin: String) -> [String: (x: Int, y: Int)] {
        let step = [
            "above": (0, 1), "below": (0, -1), "right": (1, 0), "left": (-1, 0), "north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0),
        ]
        var known: [String: (x: Int, y: Int)] = [origin: (0, 0)]
        while true {
            guard let next = relations.first(where: { known[$0.object] != nil && known[$0.subject] == nil }), let at = known[next.object],
                let by = step[next.relation]
            else { return known }
            known[next.subject] = (at.x + by.0, at.y + by.1)
        }
    }

    private func position(_ subject: String, _ relation: String, _ object: String) -> String? {
        guard let at = coordinates(from: object)[subject] else { return nil }
        let value = ["above": at.y, "below": -at.y, "right": at.x, "left": -at.x][relation] ?? 0
        return value > 0 ? "yes" : "no"
    }

    private func path(from start: String, to goal: String) -> String? {
        for first in relations where first.object == start {
            for second in relations where second.object == first.subject && second.subject == goal {
                return "\(first.relation.prefix(1)),\(second.relation.prefix(1))"
            }
        }
        return nil
    }
}

/// How a solver fared on a set of stories.
struct Verification {
    var questions = 0
    var right = 0
    var rightFromSupport = 0
    var complaints: [String] = []

    /// Answers every question twice: from all facts before it, and from its supporting facts alone.
    init(_ stories: [ParsedStory]) {
        for story in stories {
            var facts: [ParsedLine] = []
            for line in story.lines {
                guard let answer = line.answer else {
                    facts.append(line)
                    continue
                }
                questions += 1
                let got = Self.solve(line.text, facts)
                if got == answer { right += 1 }
                let fromSupport = Self.solve(line.text, facts.filter { line.supporting.contains($0.number) })
                if fromSupport == answer { rightFromSupport += 1 }
                if got != answer || fromSupport != answer, complaints.count < 3 {
                    let told = facts.map { "\($0.number) \($0.text)" }.joined(separator: " | ")
                    complaints.append("\(told) | \(line.text) \(answer) \(line.supporting): solved \(got ?? "-"), from support \(fromSupport ?? "-")")
                }
            }
        }
    }

    private static func solve(_ question: String, _ facts: [ParsedLine]) -> String? {
        var solver = StorySolver()
        for fact in facts { solver.tell(fact.text) }
        return solver.answer(question)
    }
}
