// Where documents begin reaches the layers of a model, those that are computed again included.

import Collectives
import Corpora
import Models
import NeuralNetworks
import Sharding
import Tensors
import Testing
import TestSupport
import Training

@Suite struct DocumentStartTests {
    @Test func aPassKnowsWhereDocumentsBegin() throws {
        try withScratchDirectory { directory in
            let lines = syntheticLines(12).joined(separator: "\n")
            let file = directory + "/text.txt"
            try lines.write(toFile: file, atomically: true, encoding: .utf8)
            var options = ReaderOptions()
            options.documents = .line
            let tokenizer = try tokenizer(.char, nil)
            let plan = ShardingPlan(
                reading: .text, inputs: [file], options: options, rules: CorpusFormat.text.profile.cleaning, tokenizer: tokenizer,
                output: directory + "/corpus")
            _ = try CorpusSharder(plan, communicator: SingleProcess()).run()
            let corpus = try Corpus(directory: directory + "/corpus")
            let loader = try SequentialTextLoader(corpus, lanes: 2, length: 70)
            let batch = TokenBatch(try loader.batch(lanes: [0, 1]))
            let inputs = batch.inputs.integerArray
            #expect(batch.resets == inputs.indices.map { inputs[$0] == corpus.endID || $0 == 70 })
            #expect(batch.resets.filter { $0 }.count > 2 && batch.resets[0])

            for kind in ModelKind.allCases {
                let model = try modelConfiguration(kind, "layers: 1, width: 8, heads: 2, rows: 4").makeModel(vocabularySize: corpus.vocabularySize)
                guard case .text(let model) = model.form else { continue }
                model.store.allocate(seed: 1)
                let pass = ForwardPass()
                _ = PreparedBatch(batch, for: model).loss(pass)
                #expect(pass.resets == batch.resets, "\(kind)")
            }
        }
    }

    @Test(arguments: [false, true])
    func aLayerThatIsComputedAgainKnowsThemToo(_ recompute: Bool) {
        let tape = Tape()
        let pass = ForwardPass(tape: tape)
        pass.resets = [false, true]
        var seen: [[Bool]] = []
        let output = pass.layer([tape.variable(Tensor([1, 2] as [Float], [1, 2]))], recompute: recompute) { inputs, part in
            seen.append(part.resets)
            return inputs[0] + inputs[0]
        }
        tape.backward(from: output, gradient: Tensor([1, 1] as [Float], [1, 2]))
        #expect(seen == Array(repeating: [false, true], count: recompute ? 2 : 1))
    }
}
