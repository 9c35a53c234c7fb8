import Configuration
import Diagnostics
import Testing

@Suite struct ConfigurationOverrideTests {
    @Test func overridesReplaceAddAndMakeSections() throws {
        let tree = try tree(
            exampleRun, "batch.lanes=16", "optimizer.betas=[0.8, 0.95]", "parallel.reproducible=true", "memory.bank.slots=32", "run=a=b",
            "batch.lanes=8", "schedule={kind: cosine, warmup: 10}", "checkpoint.every=2 h")
        #expect(try tree.section("batch").int("lanes") == 8)
        #expect(try tree.section("optimizer").doubles("betas") == [0.8, 0.95])
        #expect(try tree.section("parallel").bool("reproducible"))
        #expect(try tree.section("memory").section("bank").int("slots") == 32)
        #expect(try tree.root.string("run") == "a=b")
        #expect(try tree.section("schedule").string("kind") == "cosine")
        #expect(try tree.section("checkpoint").interval("every") == .seconds(7200))
    }

    @Test func overridesFillNullSectionsAndEmptyValues() throws {
        let tree = try tree("batch:\ncorpus: {validation: x}", "batch.lanes=2", "corpus.validation=")
        #expect(try tree.section("batch").int("lanes") == 2)
        #expect(try tree.section("corpus").optionalString("validation") == nil)
    }

    @Test func errorsNameTheOverride() throws {
        let illTyped = try tree(exampleRun, "batch.lanes=many").section("batch")
        #expect(
            message { _ = try illTyped.int("lanes", in: 1...) } == "--set batch.lanes: 'batch.lanes' must be an integer of at least 1, found 'many'")
        let unknown = try tree("batch: {lanes: 1}", "batch.lane=2")
        _ = try unknown.section("batch").int("lanes")
        #expect(message { try unknown.finish() } == "--set batch.lane: unknown key 'batch.lane'; did you mean 'lanes'?")
        #expect(message { _ = try tree("seed: 1", "seed.x=2") } == "--set seed.x: 'seed' on line 1 is not a section, so 'x' cannot be set in it")
        #expect(message { _ = try tree("a: 1", "a=[1, 2") }.hasPrefix("--set a: not valid YAML: "))
        let nested = try tree("a: 1", "s={x: 1, y: 2}")
        _ = try nested.root.int("a")
        _ = try nested.section("s").int("x")
        #expect(message { try nested.finish() } == "--set s: unknown key 's.y'; did you mean 'x'?")
    }

    @Test(arguments: ["batch.lanes", "=3", "batch..lanes=3", ".a=1"])
    func malformedOverridesAreUsageErrors(override: String) {
        let text = message(exitCode: .usage) { _ = try tree("a: 1", override) }
        #expect(text == "--set \(override): an override is written section.key=value")
    }
}
