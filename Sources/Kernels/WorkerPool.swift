// Worker threads (single-threaded form).

/// The threads of this process that share the work of one operation.
public enum Workers {
    /// Threads, the caller's included.
    public static var count: Int { 1 }
    /// The worker that runs the present body; 0 is the caller.
    public static var index: Int { 0 }

    /// Cuts 0 ..< count into contiguous ranges of at least `minimum` and runs them.
    @inline(__always)
    public static func parallel(_ count: Int, minimum: Int, _ body: (Range<Int>) -> Void) {
        if count > 0 { body(0..<count) }
    }

    /// Runs tasks 0 ..< tasks.
    @inline(__always)
    public static func forEach(tasks: Int, _ body: (Int) -> Void) {
        for task in 0..<tasks { body(task) }
    }
}
