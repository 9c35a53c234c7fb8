// What the reads of a configuration declare: the list of keys, with the choices on which they depend.

import Configuration
import Diagnostics
import Testing

private enum Shape: String, CaseIterable { case circle, square, star }

/// A reader with keys that depend on one choice and on two, required ones, and one that means two things.
private func read(_ tree: ConfigurationTree) throws {
    _ = try tree.root.int("count", "How many.", in: 4...)
    let shape = try tree.section("shape", onResume: .noted)
    let kind: Shape = try shape.choice("kind", "Which shape.", onResume: .refused)
    let width = try shape.double("width", "How wide.", default: kind == .star ? 2 : 1)
    if kind != .star { _ = try shape.double("height", "How high.", default: width, defaultText: "shape.width") }
    if kind == .star { _ = try shape.int("points", "How many points.", in: 3...9) }
    let paint = try tree.section("paint", onResume: .free)
    let paints = kind == .star ? ["none", "oil", "gold"] : ["none", "oil"]
    if try paint.choice("kind", "What it is painted with.", default: "none", of: paints) == "oil" {
        _ = try paint.optionalString("varnish", "What goes on top.")
        if kind == .star { _ = try paint.section("frame").strings("woods", "What the frame is made of.", default: ["oak"]) }
    }
    try tree.finish()
}

@Suite struct ConfigurationKeyTests {
    private func key(_ name: String) throws -> ConfigurationKey {
        try #require(try ConfigurationTree.keys(read).first { $0.name == name }, "\(name)")
    }

    @Test func everyKeyIsFoundOnceAndSectionBySection() throws {
        let keys = try ConfigurationTree.keys(read)
        #expect(
            keys.map(\.name) == [
                "count", "shape.kind", "shape.width", "shape.height", "shape.width", "shape.points", "paint.kind", "paint.kind",
                "paint.varnish",
                "paint.frame.woods",
            ])
    }

    @Test func aKeyIsDeclaredByItsRead() throws {
        let count = try key("count")
        #expect(count.type == "an integer of at least 4" && count.choices.isEmpty && count.defaultValue == nil)
        #expect(count.meaning == "How many." && count.onResume == .refused && count.section.isEmpty)
        let kind = try key("shape.kind")
        #expect(kind.type == "one of circle, square, star" && kind.choices == ["circle", "square", "star"] && kind.onResume == .refused)
        let height = try key("shape.height")
        #expect(height.defaultValue == "shape.width" && height.onResume == .noted)
        #expect(try key("paint.varnish").defaultValue == "none" && key("paint.varnish").onResume == .free)
        #expect(try key("paint.frame.woods").defaultValue == "[oak]" && key("paint.frame.woods").onResume == .free)
    }

    @Test func aKeyNamesTheFewestChoicesOnWhichItDepends() throws {
        let phrases = try ConfigurationTree.keys(read).map(\.conditionPhrase)
        #expect(
            phrases == [
                "", "", "shape.kind is not star", "shape.kind is not star", "shape.kind is star", "shape.kind is star", "shape.kind is not star",
                "shape.kind is star", "paint.kind is oil", "paint.kind is oil and shape.kind is star",
            ])
    }

    @Test func whatAReaderRefusesIsADefectThatShows() {
        #expect(throws: UserError.self) {
            try ConfigurationTree.keys { tree in
                if try tree.root.choice("a", "A word.", of: ["x", "y"]) == "y" { throw tree.root.error("a", "is y") }
            }
        }
    }

    @Test func keysOfOtherChoicesAreKnown() throws {
        let tree = try tree("count: 5\nshape: {kind: circle, points: 5}")
        let shape = try tree.section("shape")
        _ = try tree.root.int("count")
        _ = try shape.string("kind")
        #expect(
            message { try tree.finish(known: { (try? ConfigurationTree.keys(read)) ?? [] }) }
                == "x.yaml:2: unknown key 'shape.points'; it is a key where shape.kind is star")
    }

    @Test func valuesAreThoseOfEveryKeyThatWasRead() throws {
        let tree = try tree("count: 5\nshape: {kind: star, points: 4}\npaint: {kind: oil}")
        try read(tree)
        #expect(
            tree.values.map { "\($0.name) \($0.value)" } == [
                "count 5", "shape.kind star", "shape.width 2.0", "shape.points 4", "paint.kind oil", "paint.varnish null",
                "paint.frame.woods [oak]",
            ])
    }

    @Test func anEarlierSpellingIsReadWithANotice() throws {
        let tree = try tree("a:\n  old_name: true")
        let section = try tree.section("a")
        try section.rename("old_name", to: "newName")
        #expect(try section.bool("newName", default: false))
        try tree.finish()
        #expect(tree.notices == ["x.yaml:2: 'a.old_name' is now spelled 'a.newName'"])
        #expect(tree.resolvedYAML() == "a:\n  newName: true\n")
        let both = try ConfigurationTree(yaml: "old_name: 1\nnewName: 2", file: "x.yaml")
        #expect(message { try both.root.rename("old_name", to: "newName") }
            == "x.yaml:1: 'old_name' is the earlier spelling of 'newName', which is there too; remove 'old_name'")
        let neither = try ConfigurationTree(yaml: "", file: "x.yaml")
        try neither.root.rename("old_name", to: "newName")
        #expect(neither.notices.isEmpty)
    }
}

@Suite struct ConfigurationKeyListTests {
    private func list(_ section: String? = nil) throws -> ConfigurationKeyList {
        try ConfigurationKeyList(ConfigurationTree.keys(read), section: section)
    }

    @Test func aSectionIsListedWithWhatIsInIt() throws {
        #expect(try list("paint").keys.map(\.name) == ["paint.kind", "paint.kind", "paint.varnish", "paint.frame.woods"])
        #expect(try list("paint.kind").keys.map(\.choices.count) == [2, 3])
        #expect(try list().keys.count == 10)
        #expect(message(exitCode: .usage) { _ = try list("pant") } == "--keys: run files have no section or key 'pant'; did you mean 'paint'?")
        #expect(message(exitCode: .usage) { _ = try list("qqqq") } == "--keys: run files have no section or key 'qqqq'; leave it out to see all")
    }

    @Test func linesFitTheTerminal() throws {
        let text = try list("shape").text(columns: 60)
        #expect(text.split(separator: "\n").allSatisfy { $0.count <= 60 }, "\(text)")
        #expect(
            text.hasSuffix(
                """

                shape
                    kind                one of circle, square, star;
                                        required [refused]
                                        Which shape.
                  where shape.kind is not star
                    width               a number; default 1.0 [noted]
                                        How wide.
                    height              a number; default shape.width
                                        [noted]
                                        How high.
                  where shape.kind is star
                    width               a number; default 2.0 [noted]
                                        How wide.
                    points              an integer from 3 to 9; required
                                        [noted]
                                        How many points.

                """), "\(text)")
    }

    @Test func thePageHasARowForEachKey() throws {
        let page = try list().markdown
        #expect(page.contains("\n## Top level\n\n| key | value | default | where | at a resume | meaning |\n| --- | --- | --- | --- | --- | --- |\n"))
        #expect(page.contains("\n| `count` | an integer of at least 4 | required |  | refused | How many. |\n"))
        #expect(page.contains("\n## paint.frame\n"))
        #expect(
            page.contains(
                "\n| `woods` | a list of texts | [oak] | paint.kind is oil and shape.kind is star | free | What the frame is made of. |\n"))
    }
}
