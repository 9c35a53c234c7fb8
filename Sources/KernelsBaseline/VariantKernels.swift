// The kernel set of one instruction set. This folder is compiled three times, under the names KernelsBaseline, KernelsAVX2 and KernelsAVX512.

@_exported import KernelTypes

/// The kernels, compiled for the instruction set that the module's name says.
public struct VariantKernels: KernelSet {
    /// They have no state.
    public init() {}

    public var instructionSet: String {
        #if MNEME_AVX512
            "avx512"
        #elseif MNEME_FMA
            "avx2"
        #elseif arch(x86_64)
            "sse2"
        #else
            "neon"
        #endif
    }
}

/// The layout of the kernels that this module was compiled with.
@inline(never)
public func compiledLayout() -> UInt64 { KernelLayout.number }
