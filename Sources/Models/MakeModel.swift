// From a configuration to a model.

/// The model that `configuration` describes, its parameters declared but not allocated.
public func makeModel(_ configuration: ModelConfiguration, vocabularySize: Int) -> any LanguageModel {
    switch configuration.kind {
    case .decoderOnly: DecoderOnlyTransformer(configuration, vocabularySize: vocabularySize)
    case .encoderDecoder: EncoderDecoderTransformer(configuration, vocabularySize: vocabularySize)
    case .elman: RecurrentLanguageModel(configuration, cell: .elman, vocabularySize: vocabularySize)
    case .lstm: RecurrentLanguageModel(configuration, cell: .lstm, vocabularySize: vocabularySize)
    case .gru: RecurrentLanguageModel(configuration, cell: .gru, vocabularySize: vocabularySize)
    case .gruResetBefore: RecurrentLanguageModel(configuration, cell: .gruResetBefore, vocabularySize: vocabularySize)
    case .memoryNetwork: MemoryNetworkLanguageModel(configuration, vocabularySize: vocabularySize)
    }
}
