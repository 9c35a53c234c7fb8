// The number of the kernels' layout, by which objects that were compiled for another one are found out.

/// What a call of a kernel relies on: the order and the signatures of the protocols' requirements, and the fields of what is passed.
///
/// A call goes through a table of the variant, by place. An object file that was compiled before the protocols changed calls by an old place, or
/// offers an old table, and the wrong kernel runs without a word. So the number is compiled into whoever mentions it, and compared at the start
/// with the one that this module itself has: by functions, not through the tables.
public enum KernelLayout {
    /// The number that the module which mentions it was compiled with. A test computes it from the sources of this module and says what it should be.
    @_transparent
    public static var number: UInt64 { 0x656F_65BB_71D8_8A17 }

    /// The number that the running program's declarations have.
    @inline(never)
    public static func current() -> UInt64 { number }
}
