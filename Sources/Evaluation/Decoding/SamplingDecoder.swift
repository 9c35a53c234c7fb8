// Sampling (and greedy decoding) of a batch, one token a sequence and step.
//
// Legend: n sequences that are decoded, V vocabulary.

import Diagnostics
import Kernels
import Models
import Tensors

/// Draws sequences token by token.
struct SamplingDecoder {
    private let generator: Generator
    private let sampling: SamplingSettings
    private let settings: GenerationSettings

    init(_ generator: Generator, _ sampling: SamplingSettings, _ settings: GenerationSettings) {
        self.generator = generator
        self.sampling = sampling
        self.settings = settings
    }

    /// One sequence that is being written.
    private struct Draft {
        /// The task's place in the batch.
        let task: Int
        let limit: Int
        /// All tokens that the decoder has read or will read: prompt and output, or the output alone.
        var context: [Int32]
        var output: [Int32] = []
        var logProbability = 0.0
        var isComplete = false
        var random: RandomStream
        /// The tokens that the repetition penalty holds against.
        var history: Set<Int32>

        var isDone: Bool { isComplete || output.count >= limit }
    }

    /// The sequences of each task, `settings.sequences` each.
    func run(_ tasks: [GenerationTask]) throws -> [[GeneratedSequence]] {
        let isTokenModel = !generator.model.readsPairs
        var sequences: [Draft] = []
        for (index, task) in tasks.enumerated() {
            for sample in 0..<settings.sequences {
                let random = RandomStream(key: mixKeys(sampling.seed, UInt64(task.number), UInt64(sample)))
                let context = isTokenModel ? task.prompt : [generator.startToken]
                sequences.append(Draft(task: index, limit: task.limit, context: context, random: random, history: Set(context)))
            }
        }
        var sampler = TokenSampler(sampling, vocabularySize: generator.model.vocabularySize)
        if isTokenModel {
            try decode(prompts: tasks.map(\.prompt), parents: sequences.map(\.task), &sequences, sequences.indices.map { $0 }, &sampler)
            // Sequences that filled the context go on from its later half.
            while true {
                let pending = sequences.indices.filter { !sequences[$0].isDone }
                guard !pending.isEmpty, let context = generator.model.maximumLength else { break }
                let prompts = pending.map { Array(sequences[$0].context.suffix(max(context / 2, 1))) }
                try decode(prompts: prompts, parents: Array(pending.indices), &sequences, pending, &sampler)
            }
        } else {
            try decode(prompts: tasks.map(\.prompt), parents: sequences.map(\.task), &sequences, sequences.indices.map { $0 }, &sampler)
        }
        var results = [[GeneratedSequence]](repeating: [], count: tasks.count)
        for sequence in sequences {
            results[sequence.task].append(
                GeneratedSequence(
                    tokens: sequence.output, logProbability: sequence.logProbability, score: sequence.logProbability,
                    isComplete: sequence.isComplete))
        }
        return results
    }

    /// Decodes the sequences `members` until each is done or has filled the context. Sequence `members[i]` starts from `prompts[parents[i]]`.
    private func decode(
        prompts: [[Int32]], parents: [Int], _ sequences: inout [Draft], _ members: [Int], _ sampler: inout TokenSampler
    ) throws {
        let model = generator.model
        let isTokenModel = !model.readsPairs
        let room = members.indices.map { i in
            // How many tokens this decoder can still give sequence i: one more than it can read.
            isTokenModel ? (model.maximumLength ?? .max / 2) - prompts[parents[i]].count + 1 : .max
        }
        let steps = members.indices.map { min(sequences[members[$0]].limit - sequences[members[$0]].output.count, room[$0]) }
        let decoder = model.startDecoding(prompts, maximumNewTokens: steps.max() ?? 0)
        var rows = Array(members.indices)  // what each row of the decoder is
        var logits: Tensor
        if let first = decoder.firstLogits {
            logits = first
        } else {
            logits = decoder.advance([Int32](repeating: generator.startToken, count: prompts.count))
        }
        if parents != Array(prompts.indices) {
            decoder.reorder(parents)
            logits = logits.rows(parents)
        }
        var given = 0  // tokens that each row got here
        while true {
            var next = [Int32](repeating: 0, count: rows.count)
            for (row, i) in rows.enumerated() where !isOver(sequences[members[i]], given, steps[i]) {
                next[row] = try draw(logits.floats + row * model.vocabularySize, &sequences[members[i]], &sampler)
            }
            given += 1
            let open = rows.indices.filter { !isOver(sequences[members[rows[$0]]], given, steps[rows[$0]]) }
            if open.isEmpty { return }
            // Rows that are over cost as much as open ones, moving the memory of the others costs too: move when a quarter is over, or when
            // one that is over has no position left.
            let mustMove = rows.indices.contains { given >= room[rows[$0]] }
            if mustMove || open.count * 4 <= rows.count * 3 {
                decoder.reorder(open)
                rows = open.map { rows[$0] }
                next = open.map { next[$0] }
            }
            logits = decoder.advance(next)
        }
    }

    /// True when a row gets no more tokens from this decoder.
    private func isOver(_ sequence: Draft, _ given: Int, _ steps: Int) -> Bool { sequence.isComplete || given >= steps }

    /// Draws the next token of a sequence and writes it down.
    private func draw(_ logits: UnsafePointer<Float>, _ sequence: inout Draft, _ sampler: inout TokenSampler) throws -> Int32 {
        let normalizer = Kernels.active.logSumExponential(logits, generator.model.vocabularySize)
        guard normalizer.isFinite else { throw UserError.divergedModel }
        let token = sampler.next(logits, history: sequence.history, &sequence.random)
        sequence.logProbability += Double(logits[Int(token)] - normalizer)
        if token == generator.endToken {
            sequence.isComplete = true
        } else {
            sequence.output.append(token)
            sequence.context.append(token)
            if sampling.repetitionPenalty != 1 { sequence.history.insert(token) }
        }
        return token
    }
}
