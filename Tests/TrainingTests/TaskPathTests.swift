import Diagnostics
import Testing
import Training

@Suite("Paths with variables of the environment")
struct TaskPathTests {
    private func expanded(_ text: String) throws -> String {
        try expandingVariables(text, environment: ["DATA": "/corpora", "X_1": "y"]) { UserError(.configuration, "names \($0)", at: "task.data") }
    }

    @Test("names are replaced with and without braces")
    func replaced() throws {
        #expect(try expanded("$DATA/babi/en") == "/corpora/babi/en")
        #expect(try expanded("${DATA}more/$X_1.txt") == "/corporamore/y.txt")
        #expect(try expanded("plain/path") == "plain/path")
    }

    @Test("a variable that is not set, or no name at all, is an error", arguments: ["$NONE/x", "${DATA", "a$/b", "${}"])
    func missing(text: String) {
        #expect(throws: UserError.self) { try expanded(text) }
    }
}
