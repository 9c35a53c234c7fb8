// What becomes of the positions that leave a Transformer's memory.

import Configuration
import Memory

/// The section `model.compression` of `kind: compressive-transformer`.
public struct CompressionConfiguration: Sendable, Equatable {
    /// C, the latest compressed positions that a lane remembers.
    public var slots: Int
    /// c, the positions that one is made of.
    public var rate: Int
    /// How.
    public var function: CompressionFunction
    /// What a function with parameters learns from.
    public var loss: CompressionLoss

    /// By a convolution that learns from what attention reads, unless something else is asked for.
    public init(slots: Int, rate: Int = 3, function: CompressionFunction = .convolution, loss: CompressionLoss = .attention) {
        (self.slots, self.rate, self.function, self.loss) = (slots, rate, function, loss)
    }

    /// Reads the section.
    /// - Parameters:
    ///   - memory: the positions that the model remembers as they are.
    ///   - evaluationMemory: the same in evaluation.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ section: ConfigurationSection, memory: Int, evaluationMemory: Int) throws {
        self.init(
            slots: try section.int(
                "slots", "The latest compressed positions that a lane remembers, in each layer.", default: max(memory, 1),
                defaultText: "model.memory", in: SizeLimits.positions),
            rate: try section.int(
                "rate", "Positions that leave the memory and become one.", default: 3, in: 2...SizeLimits.positions.upperBound),
            function: try section.choice(
                "function", "What makes one position of several: a learned convolution, their mean or maximum, or the one that was attended to most.",
                default: CompressionFunction.convolution))
        if function.isLearned {
            loss = try section.choice(
                "loss", "What the convolution learns from: that attention reads the same of its result, or that it can be undone.", default: loss)
        }
        guard section.fillsIn || min(memory, evaluationMemory) >= function.reach(rate) else {
            throw section.error(
                "rate", "is \(rate), and a dilated convolution looks at \(function.reach(rate)) positions past those, more than the memory holds",
                advice: "raise model.memory, or choose a smaller rate")
        }
    }
}
