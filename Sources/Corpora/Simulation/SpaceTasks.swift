// Tasks about the arrangement of places and things in space: 4, 17, 18, 19.

/// Stories that describe a small map or an order of sizes.
enum SpaceTasks {
    private static let compass: [(name: String, x: Int, y: Int)] = [("north", 0, 1), ("south", 0, -1), ("east", 1, 0), ("west", -1, 0)]

    /// Task 4: three places in a row; which is on one side of another?
    static func twoArgumentRelations(_ choices: SeededChoices) -> BabiStory {
        var choices = choices
        var story = BabiStory()
        let row = choices.sample(StoryWorld.rooms, 3)
        // Going through the row leads in `forward`, looking back in `backward`.
        let (forward, backward) = choices.pick([("north", "south"), ("south", "north"), ("east", "west"), ("west", "east")])
        var factOfLink = [0, 0]
        for link in choices.shuffled([0, 1]) {
            let (near, far) = (row[link], row[link + 1])
            factOfLink[link] = story.tell(
                choices.chance(1, in: 2) ? "The \(far) is \(forward) of the \(near)." : "The \(near) is \(backward) of the \(far).")
        }
        let link = choices.below(2)
        let (near, far) = (row[link], row[link + 1])
        let questions = [
            ("What is \(forward) of the \(near)?", far), ("What is \(backward) of the \(far)?", near), ("What is the \(far) \(forward) of?", near),
            ("What is the \(near) \(backward) of?", far),
        ]
        let (question, answer) = choices.pick(questions)
        story.ask(question, answer: answer, supporting: [factOfLink[link]])
        return story
    }

    /// Task 17: two facts place three shapes; how do the two that no fact joins lie to each other?
    static func positionalReasoning(_ choices: SeededChoices) -> BabiStory {
        var choices = choices
        var story = BabiStory()
        let shapes = choices.sample(["triangle", "blue square", "pink rectangle", "red sphere", "red square", "yellow square"], 3)
        let relations: [(words: String, x: Int, y: Int)] = [("above", 0, 1), ("below", 0, -1), ("to the right of", 1, 0), ("to the left of", -1, 0)]
        // Both outer shapes are placed by the middle one; they must not come to lie on the same spot.
        let first = choices.pick(relations)
        let second = choices.pick(relations.filter { $0.x != first.x || $0.y != first.y })
        for (relation, shape) in [(first, shapes[1]), (second, shapes[2])] {
            if choices.chance(1, in: 2) {
                story.tell("The \(shape) is \(relation.words) the \(shapes[0]).")
            } else if let opposite = relations.first(where: { $0.x == -relation.x && $0.y == -relation.y }) {
                story.tell("The \(shapes[0]) is \(opposite.words) the \(shape).")
            }
        }
        for _ in 0..<8 {
            let asksFirst = choices.chance(1, in: 2)
            let (subject, object) = asksFirst ? (shapes[1], shapes[2]) : (shapes[2], shapes[1])
            let sign = asksFirst ? 1 : -1
            let (x, y) = ((first.x - second.x) * sign, (first.y - second.y) * sign)
            // Nothing is known of a direction in which no fact speaks.
            let relation = choices.pick(relations.filter { $0.x * x != 0 || $0.y * y != 0 })
            let holds = relation.x * x > 0 || relation.y * y > 0
            story.ask("Is the \(subject) \(relation.words) the \(object)?", answer: holds ? "yes" : "no", supporting: asksFirst ? [1, 2] : [2, 1])
        }
        return story
    }

    /// Task 18: sizes follow from two facts with a thing of middle size between.
    static func sizeReasoning(_ choices: SeededChoices) -> BabiStory {
        var choices = choices
        let sizes = ["chocolate", "box of chocolates"] + choices.sample(["box", "chest", "container", "suitcase"], 3 + choices.below(2))
        while true {
            var story = BabiStory()
            // Each fact joins a smaller thing with a larger one; the position in `sizes` is the size.
            var facts: [(small: Int, large: Int)] = []
            for _ in 0..<(5 + choices.below(3)) {
                let pair = choices.sample(Array(sizes.indices), 2).sorted()
                facts.append((pair[0], pair[1]))
                let (small, large) = (sizes[pair[0]], sizes[pair[1]])
                story.tell(choices.chance(1, in: 2) ? "The \(small) fits inside the \(large)." : "The \(large) is bigger than the \(small).")
            }
            var chains: [(small: Int, large: Int, first: Int, second: Int)] = []
            for (first, lower) in facts.enumerated() {
                for (second, upper) in facts.enumerated() where lower.large == upper.small {
                    let isTold = facts.contains { $0.small == lower.small && $0.large == upper.large }
                    if !isTold { chains.append((lower.small, upper.large, first + 1, second + 1)) }
                }
            }
            if chains.isEmpty { continue }
            for _ in 0..<5 {
                let chain = choices.pick(chains)
                let (small, large) = (sizes[chain.small], sizes[chain.large])
                let (up, down) = ([chain.first, chain.second], [chain.second, chain.first])
                switch choices.below(4) {
                case 0: story.ask("Does the \(small) fit in the \(large)?", answer: "yes", supporting: up)
                case 1: story.ask("Does the \(large) fit in the \(small)?", answer: "no", supporting: down)
                case 2: story.ask("Is the \(large) bigger than the \(small)?", answer: "yes", supporting: down)
                default: story.ask("Is the \(small) bigger than the \(large)?", answer: "no", supporting: up)
                }
            }
            return story
        }
    }

    /// Task 19: the way between two places that are two steps apart, as the first letters of the directions.
    static func pathFinding(_ choices: SeededChoices) -> BabiStory {
        var choices = choices
        let rooms = choices.shuffled(StoryWorld.rooms)
        // Rooms grow on a grid, each next to one that is there, so that the facts form a tree.
        var positions = [(x: 0, y: 0)]
        var links: [(from: Int, to: Int, direction: Int)] = []
        while positions.count < rooms.count {
            let from = choices.below(positions.count)
            let direction = choices.below(compass.count)
            let spot = (x: positions[from].x + compass[direction].x, y: positions[from].y + compass[direction].y)
            if positions.contains(where: { $0 == spot }) { continue }
            links.append((from, positions.count, direction))
            positions.append(spot)
        }
        var story = BabiStory()
        var steps: [(from: Int, to: Int, letter: String, fact: Int)] = []
        for link in choices.shuffled(links) {
            let opposite = link.direction ^ 1
            let (name, reverse) = (compass[link.direction].name, compass[opposite].name)
            let fact =
                choices.chance(1, in: 2)
                ? story.tell("The \(rooms[link.to]) is \(name) of the \(rooms[link.from]).")
                : story.tell("The \(rooms[link.from]) is \(reverse) of the \(rooms[link.to]).")
            steps.append((link.from, link.to, String(name.prefix(1)), fact))
            steps.append((link.to, link.from, String(reverse.prefix(1)), fact))
        }
        let ways = steps.flatMap { first in steps.filter { $0.from == first.to && $0.to != first.from }.map { (first, $0) } }
        let (first, second) = choices.pick(ways)
        story.ask(
            "How do you go from the \(rooms[first.from]) to the \(rooms[second.to])?", answer: "\(first.letter),\(second.letter)",
            supporting: [first.fact, second.fact])
        return story
    }
}
