// The small world that most tasks play in: people in places, carrying things. Everything told is true in it.

/// The state of a world and what has been told about it.
///
/// People, places and things are indices. Where everyone is at first is not told; a thing that nobody has touched lies where it is first found.
struct StoryWorld {
    /// A move that was told.
    struct Visit {
        var place: Int
        /// The number of the fact.
        var fact: Int
    }

    /// A stay of a thing at a place that its holder's moves tell.
    struct Stay {
        var place: Int
        /// The place before, where that is known.
        var before: Int?
        /// Facts that both places follow from: how the holder came to it, the move here, the move before.
        var supporting: [Int]
    }

    /// A thing that changed hands.
    struct Gift {
        var giver: Int
        var receiver: Int
        var thing: Int
        var fact: Int
    }

    let people: [String]
    let places: [String]
    let things: [String]
    var choices: SeededChoices
    var story = BabiStory()

    /// Where each person is.
    private(set) var placeOfPerson: [Int]
    /// The told moves of each person.
    private(set) var visits: [[Visit]]
    /// Who holds each thing.
    private(set) var holder: [Int?]
    /// Where each thing lies; `nil` for one that is held or untouched.
    private var placeOfThing: [Int?]
    private var touched: [Bool]
    /// The fact by which each thing came to its holder.
    private(set) var acquired: [Int]
    /// The facts that tell where each thing is when nobody holds it: who left it, and that person's move.
    private(set) var leftSupport: [[Int]?]
    /// Where each thing was left, where that is known.
    private(set) var leftAt: [Int?]
    /// What each person carries or has carried, in the order in which it first came.
    private var acquainted: [[Int]]
    /// Facts that changed what each person carries.
    private(set) var carryingFacts: [[Int]]
    /// The known stays of each thing in order.
    private(set) var stays: [[Stay]]
    private(set) var gifts: [Gift] = []

    static let people = ["Mary", "John", "Daniel", "Sandra"]
    static let givers = ["Mary", "Fred", "Bill", "Jeff"]
    static let townspeople = ["Mary", "Fred", "Bill", "Julie"]
    static let rooms = ["bathroom", "bedroom", "garden", "hallway", "kitchen", "office"]
    static let town = ["bedroom", "cinema", "kitchen", "office", "park", "school"]
    static let things = ["apple", "football", "milk"]

    init(people: [String] = Self.people, places: [String] = Self.rooms, things: [String] = Self.things, choices: SeededChoices) {
        self.people = people
        self.places = places
        self.things = things
        self.choices = choices
        placeOfPerson = []
        visits = Array(repeating: [], count: people.count)
        holder = Array(repeating: nil, count: things.count)
        placeOfThing = holder
        touched = Array(repeating: false, count: things.count)
        acquired = Array(repeating: 0, count: things.count)
        leftSupport = Array(repeating: nil, count: things.count)
        leftAt = holder
        acquainted = Array(repeating: [], count: people.count)
        carryingFacts = acquainted
        stays = Array(repeating: [], count: things.count)
        for _ in people { placeOfPerson.append(self.choices.below(places.count)) }
    }

    /// The people of whom a move was told.
    var located: [Int] { people.indices.filter { !visits[$0].isEmpty } }

    /// What `person` carries, in the order in which it first came to that person: the order in which bAbI lists it.
    func carried(by person: Int) -> [Int] { acquainted[person].filter { holder[$0] == person } }

    /// A place other than where `person` is.
    mutating func destination(of person: Int) -> Int {
        let other = choices.below(places.count - 1)
        return other < placeOfPerson[person] ? other : other + 1
    }

    /// Words for going: "went back to" only to a place where the subject is known to have been.
    mutating func going(back: Bool) -> String {
        choices.pick(["went to", "moved to", "journeyed to", "travelled to"] + (back ? ["went back to"] : []))
    }

    /// Puts `person` into `place` by the fact with this number, with everything that is carried.
    mutating func record(_ person: Int, at place: Int, fact: Int) {
        let before = visits[person].last
        placeOfPerson[person] = place
        visits[person].append(Visit(place: place, fact: fact))
        for thing in carried(by: person) {
            let supporting = [acquired[thing], fact] + (before.map { [$0.fact] } ?? [])
            stays[thing].append(Stay(place: place, before: before?.place, supporting: supporting))
        }
    }

    /// Puts `person` into `place` without a word about it.
    mutating func moveSilently(_ person: Int, to place: Int) {
        placeOfPerson[person] = place
    }

    /// Tells that `person` goes somewhere else.
    mutating func tellMove(_ person: Int) {
        let place = destination(of: person)
        let known = visits[person].contains { $0.place == place }
        let fact = story.tell("\(people[person]) \(going(back: known)) the \(places[place]).")
        record(person, at: place, fact: fact)
    }

    /// Tells that someone takes, leaves or hands over something, if that is possible.
    /// - Returns: false when nothing of the kind could happen.
    mutating func tellHandling(allowsGifts: Bool) -> Bool {
        var possible: [() -> Action] = []
        for person in people.indices {
            for thing in things.indices {
                if holder[thing] == person {
                    possible.append { .leave(person, thing) }
                    guard allowsGifts else { continue }
                    for other in people.indices where other != person && placeOfPerson[other] == placeOfPerson[person] {
                        // Company is rare, so a chance to give weighs more.
                        for _ in 0..<3 { possible.append { .give(person, other, thing) } }
                    }
                } else if holder[thing] == nil, !touched[thing] || placeOfThing[thing] == placeOfPerson[person] {
                    possible.append { .take(person, thing) }
                }
            }
        }
        guard let action = choices.pickIfAny(possible) else { return false }
        perform(action())
        return true
    }

    private enum Action {
        case take(Int, Int)
        case leave(Int, Int)
        case give(Int, Int, Int)
    }

    private mutating func perform(_ action: Action) {
        let there = choices.chance(1, in: 2) ? " there" : ""
        switch action {
        case .take(let person, let thing):
            let verb = choices.pick(["got", "took", "grabbed", "picked up"])
            let fact = story.tell("\(people[person]) \(verb) the \(things[thing])\(there).")
            touched[thing] = true
            hand(thing, to: person, fact: fact)
        case .leave(let person, let thing):
            let verb = choices.pick(["dropped", "left", "discarded", "put down"])
            let fact = story.tell("\(people[person]) \(verb) the \(things[thing])\(there).")
            release(thing, by: person, fact: fact)
            placeOfThing[thing] = placeOfPerson[person]
            if let visit = visits[person].last {
                leftAt[thing] = visit.place
                leftSupport[thing] = [fact, visit.fact]
            }
        case .give(let person, let other, let thing):
            let verb = choices.pick(["gave", "handed", "passed"])
            let fact = story.tell("\(people[person]) \(verb) the \(things[thing]) to \(people[other]).")
            release(thing, by: person, fact: fact)
            hand(thing, to: other, fact: fact)
            gifts.append(Gift(giver: person, receiver: other, thing: thing, fact: fact))
        }
    }

    private mutating func hand(_ thing: Int, to person: Int, fact: Int) {
        holder[thing] = person
        placeOfThing[thing] = nil
        leftAt[thing] = nil
        leftSupport[thing] = nil
        acquired[thing] = fact
        if !acquainted[person].contains(thing) { acquainted[person].append(thing) }
        carryingFacts[person].append(fact)
    }

    private mutating func release(_ thing: Int, by person: Int, fact: Int) {
        holder[thing] = nil
        carryingFacts[person].append(fact)
    }
}
