// From a configuration to a model.

/// The model that `configuration` describes, its parameters declared but not allocated.
public func makeModel(_ configuration: ModelConfiguration, vocabularySize: Int) -> any LanguageModel {
    switch configuration.kind {
    case .decoderOnly: DecoderOnlyTransformer(configuration, vocabularySize: vocabularySize)
    case .encoderDecoder: EncoderDecoderTransformer(configuration, vocabularySize: vocabularySize)
    case .elman, .lstm, .gru, .gruResetBefore, .turingMachine, .neuralComputer, .eraseAdd:
        RecurrentLanguageModel(configuration, vocabularySize: vocabularySize)
    case .memoryNetwork: MemoryNetworkLanguageModel(configuration, vocabularySize: vocabularySize)
    }
}
