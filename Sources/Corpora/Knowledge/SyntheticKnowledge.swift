// A generated knowledge base of films, with questions about it: everything in it is known, so that what a network reads from it can be proven.

import Diagnostics

/// Films with five facts each, and questions from templates. A function of its seed.
public struct SyntheticKnowledge: Sendable {
    /// The facts, film by film.
    public let facts: [KnowledgeFact]
    /// Questions of (film, relation) pairs that may be trained on. Those of the pairs held out are divided among validation and test.
    public let training: [KnowledgeQuestion]
    /// Questions that one may choose settings by.
    public let validation: [KnowledgeQuestion]
    /// Questions that final figures are of.
    public let test: [KnowledgeQuestion]

    /// A relation with the ways to ask for it, and to say it in a sentence. `#` stands for the film, `@` for the object.
    private struct Relation {
        let name: String
        let questions: [String]
        let sentences: [String]
        let objects: [String]
    }

    /// - Parameters:
    ///   - films: at least 10.
    ///   - heldOut: the share of (film, relation) pairs that no training question asks for; half of them for validation, half for test.
    ///   - seed: what everything depends on.
    public init(films: Int = 1000, heldOut: Double = 0.2, seed: UInt64) {
        precondition(films >= 10 && heldOut > 0 && heldOut < 1, "\(films) films, \(heldOut) held out")
        let titles = Self.titles(films, seed: seed)
        let relations = Self.relations(seed: seed)
        var facts: [KnowledgeFact] = []
        var pairs: [(film: Int, relation: Int, object: String)] = []
        for (film, title) in titles.enumerated() {
            for (number, relation) in relations.enumerated() {
                var choices = SeededChoices(seed: seed, path: [3, UInt64(film), UInt64(number)])
                let object = choices.pick(relation.objects)
                facts.append(KnowledgeFact(title, relation.name, object))
                pairs.append((film, number, object))
            }
        }
        self.facts = facts
        var order = SeededChoices(seed: seed, path: [4])
        let shuffled = order.shuffled(Array(pairs.indices))
        let heldOutCount = max(2, Int((Double(pairs.count) * heldOut).rounded()))

        func questions(_ pairs: ArraySlice<Int>, all: Bool, _ table: [(film: Int, relation: Int, object: String)]) -> [KnowledgeQuestion] {
            pairs.flatMap { pair -> [KnowledgeQuestion] in
                let (film, number, object) = table[pair]
                let relation = relations[number]
                var choices = SeededChoices(seed: seed, path: [5, UInt64(pair)])
                let templates = all ? relation.questions : [choices.pick(relation.questions)]
                return templates.map { KnowledgeQuestion(text: $0.replacing("#", with: "[\(titles[film])]"), answers: [object], kind: relation.name) }
            }
        }
        training = questions(shuffled[heldOutCount...], all: true, pairs)
        validation = questions(shuffled[..<(heldOutCount / 2)], all: false, pairs)
        test = questions(shuffled[(heldOutCount / 2)..<heldOutCount], all: false, pairs)
    }

    /// The same facts as sentences of documents, one a film.
    public func sentences(seed: UInt64) -> [KnowledgeFact] {
        let relations = Self.relations(seed: seed)
        return facts.enumerated().map { number, fact in
            var choices = SeededChoices(seed: seed, path: [6, UInt64(number)])
            let template = choices.pick(relations.first { $0.name == fact.relation }?.sentences ?? [])
            return KnowledgeFact(fact.subject, nil, template.replacing("#", with: "[\(fact.subject)]").replacing("@", with: "[\(fact.object)]"))
        }
    }

    private static func titles(_ count: Int, seed: UInt64) -> [String] {
        let first = [
            "Silver", "Broken", "Hidden", "Northern", "Last", "Burning", "Quiet", "Golden", "Distant", "Winter", "Crimson", "Paper", "Iron", "Hollow",
            "Bright",
            "Wandering", "Falling", "Stolen", "Secret", "Empty",
        ]
        let second = [
            "Harbour", "Mirror", "Garden", "Bridge", "Letter", "Road", "Island", "Tower", "River", "Season", "Orchard", "Signal", "Voyage", "Lantern",
            "Castle",
            "Meadow", "Station", "Shadow", "Promise", "Clock",
        ]
        var choices = SeededChoices(seed: seed, path: [1])
        let names = choices.shuffled(first.flatMap { a in second.map { "\(a) \($0)" } })
        return (0..<count).map { $0 < names.count ? names[$0] : "\(names[$0 % names.count]) \($0 / names.count + 1)" }
    }

    private static func relations(seed: UInt64) -> [Relation] {
        let given = ["Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Leo", "Maria", "Nils", "Olga"]
        let family = ["Keller", "Morris", "Lindqvist", "Okafor", "Petrov", "Santos", "Tanaka", "Ullman", "Varga", "Weiss"]
        var choices = SeededChoices(seed: seed, path: [2])
        let people = choices.shuffled(given.flatMap { a in family.map { "\(a) \($0)" } })
        return [
            Relation(
                name: "directed by", questions: ["who directed #", "who is the director of #", "# was directed by whom", "the director of # is who"],
                sentences: ["# was directed by @", "The director of # is @"], objects: Array(people.prefix(75))),
            Relation(
                name: "written by", questions: ["who wrote #", "who is the writer of #", "# was written by whom", "the script of # is by who"],
                sentences: ["# was written by @", "The script of # is by @"], objects: Array(people.suffix(75))),
            Relation(
                name: "release year",
                questions: ["when was # released", "what year did # come out", "the release year of # is what", "in which year was # made"],
                sentences: ["# was released in @", "# came out in the year @"], objects: (1950..<2010).map(String.init)),
            Relation(
                name: "has genre", questions: ["what genre is #", "what kind of film is #", "# is of which genre", "which genre does # belong to"],
                sentences: ["# is a film of the genre @", "# belongs to the genre @"],
                objects: [
                    "drama", "comedy", "thriller", "western", "musical", "horror", "adventure", "mystery", "romance", "war", "crime", "animation",
                ]),
            Relation(
                name: "in language",
                questions: [
                    "what language is # in", "which language do they speak in #", "# was filmed in what language", "the language of # is what",
                ],
                sentences: ["# is in the language @", "They speak @ in #"],
                objects: [
                    "English", "French", "Swedish", "Hungarian", "Japanese", "Portuguese", "Russian", "German", "Hindi", "Greek", "Finnish",
                    "Turkish",
                ]),
        ]
    }
}
