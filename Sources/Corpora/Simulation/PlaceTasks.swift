// Tasks about where people are: 1, 6, 9, 10, 11, 12, 13, 14.

/// Stories whose questions ask for the place of a person.
enum PlaceTasks {
    /// Questions in each story.
    static let questions = 5

    /// Task 1: the last move of one person answers.
    static func singleSupportingFact(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(choices: choices)
        for _ in 0..<questions {
            for _ in 0..<2 { tellAnyMove(&world) }
            let person = world.choices.pick(world.located)
            askWhere(person, &world, supporting: world.visits[person].suffix(1).map(\.fact))
        }
        return world.story
    }

    /// Task 6: is a person in a place? Things change hands in between and do not matter.
    static func yesNoQuestions(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(choices: choices)
        for _ in 0..<questions {
            for _ in 0..<2 {
                if world.choices.chance(3, in: 4) || !world.tellHandling(allowsGifts: false) { tellAnyMove(&world) }
            }
            while world.located.isEmpty { tellAnyMove(&world) }
            let person = world.choices.pick(world.located)
            guard let visit = world.visits[person].last else { continue }
            let asked = askedPlace(besides: visit.place, &world)
            let answer = asked == visit.place ? "yes" : "no"
            world.story.ask("Is \(world.people[person]) in the \(world.places[asked])?", answer: answer, supporting: [visit.fact])
        }
        return world.story
    }

    /// Task 9: the last thing said of a person may be where that person is not.
    static func simpleNegation(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(things: [], choices: choices)
        var last = [Statement?](repeating: nil, count: world.people.count)
        for _ in 0..<questions {
            for _ in 0..<2 {
                let person = world.choices.below(world.people.count)
                last[person] = world.choices.chance(1, in: 3) ? tellAbsence(of: person, last[person], &world) : tellPresence(of: person, &world)
            }
            askAboutStatement(last, &world)
        }
        return world.story
    }

    /// Task 10: a person may be in one of two places, so that the answer may be "maybe".
    static func indefiniteKnowledge(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(people: StoryWorld.townspeople, places: StoryWorld.town, things: [], choices: choices)
        var last = [Statement?](repeating: nil, count: world.people.count)
        for _ in 0..<questions {
            for _ in 0..<2 {
                let person = world.choices.below(world.people.count)
                last[person] = world.choices.chance(1, in: 3) ? tellAlternative(for: person, &world) : tellPresence(of: person, &world)
            }
            askAboutStatement(last, &world)
        }
        return world.story
    }

    /// Task 11: the second of two sentences names the person by a pronoun.
    static func basicCoreference(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(choices: choices)
        let pronouns = ["Mary": "she", "Sandra": "she", "John": "he", "Daniel": "he"]
        for _ in 0..<questions {
            let person = world.choices.below(world.people.count)
            world.tellMove(person)
            tellSequel(of: [person], subject: pronouns[world.people[person]] ?? "they", &world)
            let asked = world.choices.pick(world.located)
            askWhere(asked, &world, supporting: world.visits[asked].suffix(2).map(\.fact))
        }
        return world.story
    }

    /// Task 12: two people move together.
    static func conjunction(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(choices: choices)
        for _ in 0..<questions {
            for _ in 0..<2 { _ = tellPairMove(&world) }
            let asked = world.choices.pick(world.located)
            askWhere(asked, &world, supporting: world.visits[asked].suffix(1).map(\.fact))
        }
        return world.story
    }

    /// Task 13: "they" are the two people of the sentence before.
    static func compoundCoreference(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(choices: choices)
        for _ in 0..<questions {
            let pair = tellPairMove(&world)
            tellSequel(of: pair, subject: "they", &world)
            let asked = world.choices.pick(world.located)
            askWhere(asked, &world, supporting: world.visits[asked].suffix(2).map(\.fact))
        }
        return world.story
    }

    /// Task 14: moves are told out of order, each with its time of day. Asked is only where the time just before was told.
    static func timeReasoning(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(people: StoryWorld.townspeople, places: StoryWorld.town, things: [], choices: choices)
        let times = ["yesterday", "this morning", "this afternoon", "this evening"]
        // The place of each person at each time is settled beforehand; a person is at no place twice.
        var schedule: [[Int]] = []
        for _ in world.people { schedule.append(world.choices.sample(Array(world.places.indices), times.count)) }
        var facts = [[Int?]](repeating: Array(repeating: nil, count: times.count), count: world.people.count)
        for _ in 0..<questions {
            var told = 0
            var answerable: [(person: Int, time: Int)] = []
            while told < 2 || answerable.isEmpty {
                let open = untold(facts)
                guard let next = world.choices.pickIfAny(open) else { break }
                facts[next.person][next.time] = tell(times[next.time], next.person, schedule[next.person][next.time], &world)
                told += 1
                answerable = world.people.indices.flatMap { person in
                    (1..<times.count).filter { facts[person][$0] != nil && facts[person][$0 - 1] != nil }.map { (person, $0) }
                }
            }
            let asked = world.choices.pick(answerable)
            let places = schedule[asked.person]
            world.story.ask(
                "Where was \(world.people[asked.person]) before the \(world.places[places[asked.time]])?",
                answer: world.places[places[asked.time - 1]],
                supporting: [facts[asked.person][asked.time], facts[asked.person][asked.time - 1]].compactMap { $0 })
        }
        return world.story
    }

    // MARK: Sentences

    /// The last statement about a person.
    private enum Statement {
        case present(Int, fact: Int)
        case absent(Int, fact: Int)
        case either(Int, Int, fact: Int)
    }

    private static func tellAnyMove(_ world: inout StoryWorld) {
        world.tellMove(world.choices.below(world.people.count))
    }

    private static func askWhere(_ person: Int, _ world: inout StoryWorld, supporting: [Int]) {
        world.story.ask("Where is \(world.people[person])?", answer: world.places[world.placeOfPerson[person]], supporting: supporting)
    }

    /// `place` itself half of the time, else another.
    private static func askedPlace(besides place: Int, _ world: inout StoryWorld) -> Int {
        if world.choices.chance(1, in: 2) { return place }
        let other = world.choices.below(world.places.count - 1)
        return other < place ? other : other + 1
    }

    /// A second move of the same people in the sentence that follows.
    private static func tellSequel(of people: [Int], subject: String, _ world: inout StoryWorld) {
        let opening = world.choices.pick(["After that", "Afterwards", "Following that", "Then"])
        let place = world.destination(of: people[0])
        let known = people.allSatisfy { person in world.visits[person].contains { $0.place == place } }
        let fact = world.story.tell("\(opening) \(subject) \(world.going(back: known)) the \(world.places[place]).")
        for person in people { world.record(person, at: place, fact: fact) }
    }

    private static func tellPairMove(_ world: inout StoryWorld) -> [Int] {
        let pair = world.choices.sample(Array(world.people.indices), 2)
        let open = world.places.indices.filter { place in pair.allSatisfy { world.placeOfPerson[$0] != place } }
        let place = world.choices.pick(open)
        let known = pair.allSatisfy { person in world.visits[person].contains { $0.place == place } }
        let fact = world.story.tell("\(world.people[pair[0]]) and \(world.people[pair[1]]) \(world.going(back: known)) the \(world.places[place]).")
        for person in pair { world.record(person, at: place, fact: fact) }
        return pair
    }

    /// Tells where a person goes, or is.
    private static func tellPresence(of person: Int, _ world: inout StoryWorld) -> Statement {
        if world.choices.chance(2, in: 3) {
            world.tellMove(person)
        } else {
            let place = world.destination(of: person)
            let fact = world.story.tell("\(world.people[person]) is in the \(world.places[place]).")
            world.record(person, at: place, fact: fact)
        }
        return .present(world.placeOfPerson[person], fact: world.story.lines.count)
    }

    /// Tells where a person is not: no longer where it was, or not in some other place.
    private static func tellAbsence(of person: Int, _ last: Statement?, _ world: inout StoryWorld) -> Statement {
        let name = world.people[person]
        if case .present(let place, _)? = last, world.choices.chance(1, in: 2) {
            world.moveSilently(person, to: world.destination(of: person))
            return .absent(place, fact: world.story.tell("\(name) is no longer in the \(world.places[place])."))
        }
        let place = world.destination(of: person)
        return .absent(place, fact: world.story.tell("\(name) is not in the \(world.places[place])."))
    }

    /// Tells two places, in one of which the person is.
    private static func tellAlternative(for person: Int, _ world: inout StoryWorld) -> Statement {
        let pair = world.choices.sample(Array(world.places.indices), 2)
        world.moveSilently(person, to: world.choices.pick(pair))
        let fact = world.story.tell("\(world.people[person]) is either in the \(world.places[pair[0]]) or the \(world.places[pair[1]]).")
        return .either(pair[0], pair[1], fact: fact)
    }

    /// Asks about a place that the last statement about a person decides.
    private static func askAboutStatement(_ last: [Statement?], _ world: inout StoryWorld) {
        let known = last.indices.filter { last[$0] != nil }
        let person = world.choices.pick(known)
        guard let statement = last[person] else { return }
        let asked: Int
        let answer: String
        let fact: Int
        switch statement {
        case .present(let place, let number):
            asked = askedPlace(besides: place, &world)
            answer = asked == place ? "yes" : "no"
            fact = number
        case .absent(let place, let number):
            (asked, answer, fact) = (place, "no", number)
        case .either(let first, let second, let number):
            asked = askedPlace(besides: world.choices.chance(1, in: 2) ? first : second, &world)
            answer = asked == first || asked == second ? "maybe" : "no"
            fact = number
        }
        world.story.ask("Is \(world.people[person]) in the \(world.places[asked])?", answer: answer, supporting: [fact])
    }

    /// The moves not told yet, those next in time to a told one twice.
    private static func untold(_ facts: [[Int?]]) -> [(person: Int, time: Int)] {
        facts.indices.flatMap { person in
            facts[person].indices.filter { facts[person][$0] == nil }.flatMap { time in
                let hasNeighbour = (time > 0 && facts[person][time - 1] != nil) || (time + 1 < facts[person].count && facts[person][time + 1] != nil)
                return Array(repeating: (person, time), count: hasNeighbour ? 2 : 1)
            }
        }
    }

    private static func tell(_ time: String, _ person: Int, _ place: Int, _ world: inout StoryWorld) -> Int {
        let clause = "\(world.people[person]) \(world.going(back: false)) the \(world.places[place])"
        if world.choices.chance(1, in: 2) { return world.story.tell("\(clause) \(time).") }
        return world.story.tell("\(time.prefix(1).uppercased())\(time.dropFirst()) \(clause).")
    }
}
