// Accuracy on the bAbI tasks.
//
// Weston et al. 2015, "Towards AI-complete question answering: a set of prerequisite toy tasks".

/// Right and wrong answers of each bAbI task; those of parts, or of ranks, can be added.
public struct BABIAccuracy: Hashable, Sendable {
    /// The tasks are numbered 1 ... 20.
    public static let taskCount = 20

    /// Questions and right answers of one task.
    public struct Task: Hashable, Sendable {
        /// Questions asked.
        public var questions = 0
        /// Questions answered rightly.
        public var correct = 0

        /// The part answered wrongly, from 0 to 1; `nil` without questions.
        public var error: Double? { questions > 0 ? Double(questions - correct) / Double(questions) : nil }

        /// The part answered rightly, from 0 to 1; `nil` without questions.
        public var accuracy: Double? { questions > 0 ? Double(correct) / Double(questions) : nil }

        /// Whether more than 5 % of the answers are wrong, counted in whole questions.
        public var isFailed: Bool { (questions - correct) * 20 > questions }
    }

    private var tasks = [Task](repeating: Task(), count: taskCount)

    /// No questions.
    public init() {}

    /// One task.
    ///
    /// - Precondition: the number is from 1 to 20.
    public subscript(task: Int) -> Task {
        tasks[Self.index(task)]
    }

    /// The numbers of the tasks that questions were asked of.
    public var tasksAsked: [Int] { (1...Self.taskCount).filter { tasks[$0 - 1].questions > 0 } }

    /// Counts one question: right when the whole answers are equal after trimming white space at both ends.
    ///
    /// - Precondition: the task's number is from 1 to 20.
    public mutating func add(task: Int, answer: String, expected: String) {
        let isCorrect = MetricText.trimming(answer).utf8.elementsEqual(MetricText.trimming(expected).utf8)
        add(task: task, isCorrect: isCorrect)
    }

    /// Counts one question.
    ///
    /// - Precondition: the task's number is from 1 to 20.
    public mutating func add(task: Int, isCorrect: Bool) {
        tasks[Self.index(task)].questions += 1
        if isCorrect { tasks[Self.index(task)].correct += 1 }
    }

    /// The mean of the errors of the tasks asked, each task counting the same; `nil` without questions.
    public var meanError: Double? {
        let errors = tasks.compactMap(\.error)
        return errors.isEmpty ? nil : errors.reduce(0, +) / Double(errors.count)
    }

    /// The numbers of the tasks asked that failed.
    public var failedTasks: [Int] { tasksAsked.filter { self[$0].isFailed } }

    /// The counts in one list, for a sum over ranks: questions and right answers of tasks 1 ... 20.
    public var encoded: [Int64] { tasks.flatMap { [Int64($0.questions), Int64($0.correct)] } }

    /// The counts from such a list.
    ///
    /// - Precondition: it has 40 elements.
    public init(encoded: [Int64]) {
        precondition(encoded.count == 2 * Self.taskCount, "bAbI counts are \(2 * Self.taskCount) numbers, got \(encoded.count)")
        tasks = (0..<Self.taskCount).map { Task(questions: Int(encoded[2 * $0]), correct: Int(encoded[2 * $0 + 1])) }
    }

    /// Adds the counts of other questions.
    public static func += (left: inout BABIAccuracy, right: BABIAccuracy) {
        for index in left.tasks.indices {
            left.tasks[index].questions += right.tasks[index].questions
            left.tasks[index].correct += right.tasks[index].correct
        }
    }

    private static func index(_ task: Int) -> Int {
        precondition((1...taskCount).contains(task), "bAbI has tasks 1 to \(taskCount), got \(task)")
        return task - 1
    }
}
