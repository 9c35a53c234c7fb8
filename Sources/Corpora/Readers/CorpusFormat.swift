// The formats that a corpus can be read from.

/// A family of file formats, as the command line names it.
public enum CorpusFormat: String, Sendable, CaseIterable, Codable {
    /// Plain text.
    case text
    /// Sentence pairs of the WMT shared tasks, in any of their forms.
    case wmt
    /// Articles with highlights.
    case cnnDailyMail = "cnn-dailymail"
    /// Stories with questions and answers.
    case babi
}
