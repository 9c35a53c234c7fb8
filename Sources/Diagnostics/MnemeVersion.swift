// The version of this program.

/// What `mneme --version` prints and checkpoints record.
public enum MnemeVersion {
    /// Major, minor and patch.
    public static let current = "0.1.0"
}
