// Tasks about things that people carry: 2, 3, 5, 7, 8.

/// Stories whose questions ask for things, or for who has them.
enum ThingTasks {
    static let questions = 5

    /// Task 2: where is a thing? Who has or left it, and where that person was.
    static func twoSupportingFacts(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(choices: choices)
        for _ in 0..<questions {
            var known: [(thing: Int, place: Int, supporting: [Int])] = []
            var told = 0
            let length = 2 + world.choices.below(4)
            while told < length || known.isEmpty {
                tellAnything(&world, handlingIn: 3, allowsGifts: false)
                told += 1
                known = knownThings(world)
            }
            let asked = world.choices.pick(known)
            world.story.ask("Where is the \(world.things[asked.thing])?", answer: world.places[asked.place], supporting: asked.supporting)
        }
        return world.story
    }

    /// Task 3: where was a thing before the place it was last brought to?
    static func threeSupportingFacts(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(choices: choices)
        for _ in 0..<questions {
            var known: [(thing: Int, stay: StoryWorld.Stay, before: Int)] = []
            var told = 0
            let length = 3 + world.choices.below(5)
            while told < length || known.isEmpty {
                tellAnything(&world, handlingIn: 3, allowsGifts: false)
                told += 1
                known = world.things.indices.flatMap { thing in
                    // Only the last stay at each place: "before the kitchen" means the last time in the kitchen.
                    world.places.indices.compactMap { place in
                        guard let stay = world.stays[thing].last(where: { $0.place == place }), let before = stay.before else { return nil }
                        return (thing, stay, before)
                    }
                }
            }
            let asked = world.choices.pick(known)
            world.story.ask(
                "Where was the \(world.things[asked.thing]) before the \(world.places[asked.stay.place])?", answer: world.places[asked.before],
                supporting: asked.stay.supporting)
        }
        return world.story
    }

    /// Task 5: who gave what to whom?
    static func threeArgumentRelations(_ choices: SeededChoices) -> BabiStory {
        var world = StoryWorld(people: StoryWorld.givers, choices: choices)
        for _ in 0..<questions {
            let length = 2 + world.choices.below(4)
            var told = 0
            while told < length || world.gifts.isEmpty {
                tellAnything(&world, handlingIn: 2, allowsGifts: true)
                told += 1
            }
            askAboutGift(&world)
        }
        return world.story
    }

    /// Task 7: how many things does a person carry?
    static func counting(_ choices: SeededChoices) -> BabiStory {
        carrying(choices, allowsGifts: true) { world, person in
            let numbers = ["none", "one", "two", "three"]
            return ("How many objects is \(world.people[person]) carrying?", numbers[world.carried(by: person).count])
        }
    }

    /// Task 8: what does a person carry? In the order in which it first came, with commas.
    static func listsSets(_ choices: SeededChoices) -> BabiStory {
        carrying(choices, allowsGifts: false) { world, person in
            let names = world.carried(by: person).map { world.things[$0] }
            return ("What is \(world.people[person]) carrying?", names.isEmpty ? "nothing" : names.joined(separator: ","))
        }
    }

    private static func carrying(
        _ choices: SeededChoices, allowsGifts: Bool, question: (StoryWorld, Int) -> (text: String, answer: String)
    ) -> BabiStory {
        var world = StoryWorld(choices: choices)
        for _ in 0..<questions {
            var told = 0
            var involved: [Int] = []
            while told < 2 || involved.isEmpty {
                tellAnything(&world, handlingIn: 2, allowsGifts: allowsGifts)
                told += 1
                involved = world.people.indices.filter { !world.carryingFacts[$0].isEmpty }
            }
            // How often a person is asked about, by the number of things carried: empty hands and full ones are rarer than one thing.
            let weights = [4, 2, 5, 8]
            let weighted = involved.flatMap { Array(repeating: $0, count: weights[world.carried(by: $0).count]) }
            let person = world.choices.pick(weighted)
            let (text, answer) = question(world, person)
            world.story.ask(text, answer: answer, supporting: world.carryingFacts[person])
        }
        return world.story
    }

    /// A thing is handled once in `handlingIn` times if that can be, else someone moves.
    private static func tellAnything(_ world: inout StoryWorld, handlingIn denominator: Int, allowsGifts: Bool) {
        if world.choices.chance(1, in: denominator), world.tellHandling(allowsGifts: allowsGifts) { return }
        world.tellMove(world.choices.below(world.people.count))
    }

    /// The things whose place follows from what was told.
    private static func knownThings(_ world: StoryWorld) -> [(thing: Int, place: Int, supporting: [Int])] {
        world.things.indices.compactMap { thing in
            if let person = world.holder[thing] {
                guard let visit = world.visits[person].last else { return nil }
                return (thing, visit.place, [world.acquired[thing], visit.fact])
            }
            guard let place = world.leftAt[thing], let supporting = world.leftSupport[thing] else { return nil }
            return (thing, place, supporting)
        }
    }

    /// Asks about one gift in a way that the last gift of its kind answers.
    private static func askAboutGift(_ world: inout StoryWorld) {
        let chosen = world.choices.pick(Array(world.gifts.suffix(3)))
        let giver = world.people[chosen.giver]
        let receiver = world.people[chosen.receiver]
        let thing = world.things[chosen.thing]
        let matches: (StoryWorld.Gift) -> Bool
        let question: String
        let answer: (StoryWorld.Gift) -> String
        let people = world.people
        let things = world.things
        switch world.choices.below(5) {
        case 0:
            question = "What did \(giver) give to \(receiver)?"
            matches = { $0.giver == chosen.giver && $0.receiver == chosen.receiver }
            answer = { things[$0.thing] }
        case 1:
            question = "Who did \(giver) give the \(thing) to?"
            matches = { $0.giver == chosen.giver && $0.thing == chosen.thing }
            answer = { people[$0.receiver] }
        case 2:
            question = "Who gave the \(thing)?"
            matches = { $0.thing == chosen.thing }
            answer = { people[$0.giver] }
        case 3:
            question = "Who gave the \(thing) to \(receiver)?"
            matches = { $0.thing == chosen.thing && $0.receiver == chosen.receiver }
            answer = { people[$0.giver] }
        default:
            question = "Who received the \(thing)?"
            matches = { $0.thing == chosen.thing }
            answer = { people[$0.receiver] }
        }
        guard let gift = world.gifts.last(where: matches) else { return }
        world.story.ask(question, answer: answer(gift), supporting: [gift.fact])
    }
}
