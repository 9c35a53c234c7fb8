// Run files of language models that read one position after the other: what the section `model` may say, and what it may not.

import Diagnostics
import Memory
import Models
import NeuralNetworks
import Testing
import Training

@Suite("Run files of recurrent language models") struct RecurrentConfigurationTests {
    private func configuration(_ model: String, corpus: String = "{shards: text, order: streams}") throws -> RunConfiguration {
        try RunConfiguration(
            yaml: "steps: 5\nmodel: \(model)\ncorpus: \(corpus)\nbatch: {lanes: 4, length: 20}\n", file: "x.yaml")
    }

    private func model(_ text: String) throws -> RecurrentLanguageModel.Configuration {
        try #require((configuration(text).task as? LanguageTaskSettings)?.model as? RecurrentLanguageModel.Configuration)
    }

    @Test("the keys of a core and of the language model")
    func keys() throws {
        let computer = try model(
            """
            {kind: dnc, rows: 24, width: 6, readHeads: 2, masksKeys: true, recompute: true, dropout: 0.2, labelSmoothing: 0.1, carry: true, \
            controller: {width: 33, layers: 2}}
            """)
        let core = try #require(computer.core as? DifferentiableNeuralComputerConfiguration)
        #expect(core.rows == 24 && core.width == 6 && core.readHeads == 2 && core.masksKeys && core.recompute && core.controller.layers == 2)
        #expect(computer.carriesMemory && computer.dropout == 0.2 && computer.labelSmoothing == 0.1 && computer.embedding == nil)
        #expect(computer.core.units == 33, "embeddings are as wide as the controller unless `embedding` says otherwise")
        #expect(computer.makeModel(vocabularySize: 9).store["tokenEmbedding.weight"]?.shape == [9, 33])
        let machine = try model("{kind: ntm, rows: 24, shifts: 2, writeHeads: 3, embedding: 8, controller: {kind: feed-forward, width: 12}}")
        let turing = try #require(machine.core as? NeuralTuringMachineConfiguration)
        #expect(turing.shifts == -2...2 && turing.writeHeads == 3 && turing.controller.kind == .feedForward && !machine.carriesMemory)
        #expect(machine.makeModel(vocabularySize: 9).store["tokenEmbedding.weight"]?.shape == [9, 8])
        let memory = try model("{kind: erase-add, rows: 5, width: 3, controller: {width: 7}}")
        #expect(memory.core as? EraseAddConfiguration == EraseAddConfiguration(rows: 5, width: 3, units: 7))
        let layers = try model("{kind: lstm, layers: 2, width: 16, dropout: 0.3}")
        #expect(
            layers.core as? RecurrentLayersConfiguration
                == RecurrentLayersConfiguration(.lstm, layers: 2, units: 16, RecurrentOptions(dropout: 0.3)))
        #expect(layers.dropout == 0.3)
    }

    @Test(
        "the resolved configuration reads back to the same",
        arguments: [
            "{kind: dnc, rows: 24, width: 6, carry: true, bypassDropout: 0.1}", "{kind: ntm, dropout: 0.1}", "{kind: erase-add, embedding: 4}",
            "{kind: gru, layers: 1, width: 8, carry: true}",
        ])
    func resolved(_ text: String) throws {
        let first = try configuration(text)
        let second = try RunConfiguration(yaml: first.resolvedYAML, file: "run.yaml")
        #expect(first.resolvedYAML == second.resolvedYAML)
    }

    @Test(
        "mistakes name the key",
        arguments: [
            ("{kind: dnc, layers: 2}", "unknown key 'model.layers'"), ("{kind: ntm, heads: 2}", "unknown key 'model.heads'"),
            ("{kind: dnc, writeHeads: 2}", "unknown key 'model.writeHeads'; it is a key where model.kind is ntm"),
            ("{kind: erase-add, readHeads: 2}", "unknown key 'model.readHeads'"), ("{kind: dnc, context: 20}", "unknown key 'model.context'"),
            ("{kind: dnc, stateDropout: 0.1}", "unknown key 'model.stateDropout'"),
            ("{kind: lstm, layers: 1, width: 8, rows: 4}", "unknown key 'model.rows'"), ("{kind: lstm, layers: 2}", "missing key 'model.width'"),
            ("{kind: ntm, rows: 3, shifts: 2}", "'model.shifts' is 2, too far for a memory of 3 rows"),
            ("{kind: dnc, controller: {kind: gru}}", "'model.controller.kind'"), ("{kind: dnc, rows: 0}", "'model.rows'"),
            ("{kind: ntm, carry: true, learnsInitialMemory: true}", "'model.learnsInitialMemory' does not go with carry"),
            ("{kind: sparse-delta, layers: 1, width: 8, heads: 1, carry: true, start: factorized}", "'model.start' does not go with carry"),
            ("{kind: ntm, carry: true, learnsInitialReads: true}", "'model.learnsInitialReads' does not go with carry"),
            ("{kind: dnk}", "'model.kind'"),
        ])
    func mistakes(model: String, message: String) {
        do {
            _ = try configuration(model)
            #expect(Bool(false), "\(model) was taken")
        } catch let error as UserError {
            #expect("\(error)".contains(message), "\(error)")
            #expect("\(error)".hasPrefix("x.yaml:2: "), "\(error)")
        } catch { #expect(Bool(false), "\(error)") }
    }

    @Test("memory is carried along streams")
    func windows() throws {
        let message = "'model.carry' asks for corpus.order streams: shuffled windows do not continue each other"
        #expect(performing: { _ = try configuration("{kind: dnc, carry: true}", corpus: "{shards: text}") }, throws: { "\($0)".contains(message) })
        _ = try configuration("{kind: dnc}", corpus: "{shards: text}")
    }
}
