// The end-to-end memory network against golden vectors, and what it says about itself.

import Configuration
import Diagnostics
import Foundation
import Memory
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// What Golden/generate_memory_network.py wrote.
private struct GoldenMemoryNetwork: Decodable {
    struct Case: Decodable {
        let name, tying, encoding, rectifier: String
        let linear, empty, transition: Bool
        let loss: Double
        let attention: [Float]
        let parameters, gradients: [String: [Float]]
    }

    let vocabulary, width, slots, hops, longestSentence: Int
    let sentences: [[[Int32]]]
    let ages: [[Int]]
    let questions: [[Int32]]
    let answers: [Int32]
    let cases: [Case]

    static func read() throws -> GoldenMemoryNetwork {
        let url = try #require(Bundle.module.url(forResource: "memory-network", withExtension: "json", subdirectory: "Golden"))
        return try JSONDecoder().decode(GoldenMemoryNetwork.self, from: Data(contentsOf: url))
    }

    var batch: StoryBatch {
        var stories = MemorizedStories()
        for (story, list) in sentences.enumerated() {
            for (sentence, age) in zip(list, ages[story]) { stories.addSentence(sentence, age: age) }
            stories.finishStory(question: questions[story])
        }
        return StoryBatch(lanes: Array(answers.indices), stories: stories, answers: answers)
    }
}

@Suite("Memory network")
struct MemoryNetworkTests {
    @Test("losses, attention and gradients are those of an independent program")
    func golden() throws {
        let golden = try GoldenMemoryNetwork.read()
        for test in golden.cases {
            let configuration = try changed(MemoryNetworkConfiguration()) {
                $0.tying = try #require(MemoryTying(rawValue: test.tying))
                $0.encoding = try #require(MemoryEncoding(rawValue: test.encoding))
                $0.rectifier = try #require(MemoryRectifier(rawValue: test.rectifier))
                ($0.hops, $0.width, $0.transition, $0.emptySlots, $0.linearStart) = (golden.hops, golden.width, test.transition, test.empty, 10)
            }
            let network = MemoryNetwork(
                configuration, vocabularySize: golden.vocabulary, slotCount: golden.slots, longestSentence: golden.longestSentence)
            try network.store.take(test.parameters, of: test.name)
            let (tape, trace) = (Tape(), MemoryTrace())
            let loss = network.loss(golden.batch, ForwardPass(tape: tape, trace: trace, stepsDone: test.linear ? 9 : 10))
            #expect(abs(Double(loss.loss.scalar) - test.loss) < 2e-5 * test.loss, "\(test.name): \(loss.loss.scalar), not \(test.loss)")
            #expect(loss.count == 3)
            let picture = try #require(trace.pictures.first)
            #expect(picture.rows == golden.hops && picture.columns == 4 && picture.columnAxis == "sentence")
            for hop in 0..<golden.hops {
                for column in 0..<4 { #expect(abs(picture.values[hop * 4 + column] - test.attention[hop * 8 + column]) < 1e-4, "\(test.name)") }
            }
            tape.backward(from: loss.loss)
            network.store.zeroMissingGradients()
            for parameter in network.store.parameters {
                let expected = try #require(test.gradients[parameter.name])
                let scale = max(expected.map(abs).max() ?? 0, 1e-3)
                for (index, value) in expected.enumerated() {
                    #expect(abs(parameter.gradient.floats[index] - value) < 1e-4 * scale, "\(test.name), \(parameter.name)[\(index)]")
                }
            }
        }
    }

    @Test("padding is never answered, and its rows stay zero")
    func padding() {
        let network = MemoryNetwork(changed(MemoryNetworkConfiguration()) { $0.width = 8 }, vocabularySize: 5, slotCount: 4, longestSentence: 3)
        network.store.allocate(seed: 3)
        var stories = MemorizedStories()
        stories.add(sentences: [[1, 2]], question: [3])
        let batch = StoryBatch(lanes: [0], stories: stories, answers: [4])
        #expect(softmax(network.scores(batch, ForwardPass())).array[0] == 0)
        let tape = Tape()
        tape.backward(from: network.loss(batch, ForwardPass(tape: tape)).loss)
        for parameter in network.store.parameters where parameter.name.hasSuffix(".words") {
            #expect((0..<8).allSatisfy { parameter.value.floats[$0] == 0 })
            #expect(!parameter.hasGradient || (0..<8).allSatisfy { parameter.gradient.floats[$0] == 0 })
        }
    }

    @Test("what it remembers is declared: a memory a table, and the state")
    func declarations() {
        var configuration = changed(MemoryNetworkConfiguration()) { ($0.hops, $0.width) = (2, 4) }
        let adjacent = MemoryNetwork(configuration, vocabularySize: 5, slotCount: 7, longestSentence: 3)
        #expect(adjacent.memory.map(\.name) == ["memory.0", "memory.1", "memory.2", "state"])
        #expect(adjacent.memory[0].shape == [7, 4])
        configuration.tying = .layerWise
        let layered = MemoryNetwork(configuration, vocabularySize: 5, classCount: 3, slotCount: 7, longestSentence: 3)
        #expect(layered.memory.map(\.name) == ["memory.input", "memory.output", "state"])
        #expect(layered.store.parameters.map(\.name).contains("transition"))
        #expect(layered.classCount == 3)
    }

    @Test("the section model is read, and its mistakes are named")
    func configuration() throws {
        let tree = try ConfigurationTree(yaml: "model: {hops: 2, width: 30, tying: layer-wise, rectifier: half, linearStart: 7}", file: "run.yaml")
        let read = try MemoryNetworkConfiguration(tree.root.section("model"))
        let expected = changed(MemoryNetworkConfiguration()) {
            $0.tying = .layerWise
            ($0.hops, $0.width, $0.rectifier, $0.linearStart) = (2, 30, .half, 7)
        }
        #expect(read == expected)
        #expect(read.transition && !read.tiedOutput)
        let wrong = try ConfigurationTree(yaml: "model: {encoding: positon}", file: "run.yaml")
        #expect { try MemoryNetworkConfiguration(wrong.root.section("model")) } throws: { error in
            "\(error)".contains("did you mean 'position'?")
        }
    }
}
