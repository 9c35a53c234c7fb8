// Tasks about kinds and motives: 15, 16, 20.

/// Stories whose answers follow from general statements, from examples, or from what people feel.
enum InferenceTasks {
    /// Task 15: kinds are afraid of kinds, and individuals belong to kinds.
    static func basicDeduction(_ choices: SeededChoices) -> BabiStory {
        var choices = choices
        let kinds = [("mouse", "mice"), ("sheep", "sheep"), ("wolf", "wolves"), ("cat", "cats")]
        let names = ["Gertrude", "Winona", "Emily", "Jessica"]
        let feared = kinds.indices.map { kind in
            let other = choices.below(kinds.count - 1)
            return other < kind ? other : other + 1
        }
        let kindOfName = names.map { _ in choices.below(kinds.count) }
        var story = BabiStory()
        var factOfKind = [Int](repeating: 0, count: kinds.count)
        var factOfName = [Int](repeating: 0, count: names.count)
        for index in choices.shuffled(Array(0..<(kinds.count + names.count))) {
            if index < kinds.count {
                let plural = kinds[index].1
                factOfKind[index] = story.tell("\(plural.prefix(1).uppercased())\(plural.dropFirst()) are afraid of \(kinds[feared[index]].1).")
            } else {
                let name = index - kinds.count
                factOfName[name] = story.tell("\(names[name]) is a \(kinds[kindOfName[name]].0).")
            }
        }
        for _ in 0..<4 {
            let name = choices.below(names.count)
            let kind = kindOfName[name]
            story.ask(
                "What is \(names[name].lowercased()) afraid of?", answer: kinds[feared[kind]].0, supporting: [factOfName[name], factOfKind[kind]])
        }
        return story
    }

    /// Task 16: an animal has the colour of others of its kind. Within a story a kind has one colour.
    static func basicInduction(_ choices: SeededChoices) -> BabiStory {
        var choices = choices
        let kinds = ["frog", "lion", "rhino", "swan"]
        let colors = kinds.map { _ in choices.pick(["gray", "green", "white", "yellow"]) }
        // The first of the shuffled names is asked about, the second is of its kind, the others are of any.
        let names = choices.shuffled(["Bernhard", "Brian", "Greg", "Julius", "Lily"])
        let askedKind = choices.below(kinds.count)
        let kindOfName = names.indices.map { $0 < 2 ? askedKind : choices.below(kinds.count) }
        var story = BabiStory()
        var factOfKind = [Int](repeating: 0, count: names.count)
        var factOfColor = factOfKind
        // 0 ..< 5: what an animal is; 5 ..< 9: the colour of each but the first.
        for index in choices.shuffled(Array(0..<(2 * names.count - 1))) {
            if index < names.count {
                factOfKind[index] = story.tell("\(names[index]) is a \(kinds[kindOfName[index]]).")
            } else {
                let name = index - names.count + 1
                factOfColor[name] = story.tell("\(names[name]) is \(colors[kindOfName[name]]).")
            }
        }
        let answer = colors[askedKind]
        story.ask("What color is \(names[0])?", answer: answer, supporting: [factOfKind[0], factOfKind[1], factOfColor[1]])
        return story
    }

    /// Task 20: what people feel tells where they will go, and why they went there and took something.
    static func agentsMotivations(_ choices: SeededChoices) -> BabiStory {
        var choices = choices
        let motives = [
            ("tired", "bedroom", "pajamas"), ("hungry", "kitchen", "apple"), ("thirsty", "kitchen", "milk"), ("bored", "garden", "football"),
        ]
        let names = choices.shuffled(["Antoine", "Jason", "Sumit", "Yann"])
        let motiveOfName = names.map { _ in choices.pick(motives) }
        var factOfFeeling = [Int](repeating: 0, count: names.count)
        var story = BabiStory()
        // Each name stands three times: feeling, going, taking. The order of the names is free, that of one name's steps is not.
        var step = [Int](repeating: 0, count: names.count)
        let order = choices.shuffled(names.indices.flatMap { [$0, $0, $0] })
        for person in order.prefix(10 + choices.below(3)) {
            let name = names[person]
            let asked = name.lowercased()
            let (feeling, place, thing) = motiveOfName[person]
            switch step[person] {
            case 0:
                factOfFeeling[person] = story.tell("\(name) is \(feeling).")
                story.ask("Where will \(asked) go?", answer: place, supporting: [factOfFeeling[person]])
            case 1:
                let verb = choices.pick(["went to", "moved to", "journeyed to", "travelled to"])
                story.tell("\(name) \(verb) the \(place).")
                story.ask("Why did \(asked) go to the \(place)?", answer: feeling, supporting: [factOfFeeling[person]])
            default:
                let verb = choices.pick(["got", "took", "grabbed", "picked up"])
                story.tell("\(name) \(verb) the \(thing) there.")
                story.ask("Why did \(asked) get the \(thing)?", answer: feeling, supporting: [factOfFeeling[person]])
            }
            step[person] += 1
        }
        return story
    }
}
