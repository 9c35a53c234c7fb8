// The choice of the kernel set, made once by what the processor supports.

import CProcessor
import Diagnostics
@_exported import KernelTypes
import KernelsBaseline

#if arch(x86_64)
    import KernelsAVX2
    import KernelsAVX512
#endif

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The SIMD kernels of this processor.
public enum Kernels {
    /// The environment variable that asks for a smaller instruction set than the processor's: `sse2`, `avx2` or `avx512` (`neon` on arm64).
    public static let environmentVariable = "MNEME_INSTRUCTION_SET"

    /// The kernel sets that this processor can run, from the smallest instruction set to the largest.
    public static let available: [any KernelSet] = {
        var sets: [any KernelSet] = [KernelsBaseline.VariantKernels()]
        #if arch(x86_64)
            if mneme_processor_supports_avx2() { sets.append(KernelsAVX2.VariantKernels()) }
            if mneme_processor_supports_avx512() { sets.append(KernelsAVX512.VariantKernels()) }
        #endif
        return sets
    }()

    /// The kernel set in use: the one that MNEME_INSTRUCTION_SET names, or else the largest. A name that is unknown or not supported here counts
    /// as none; `validateEnvironment` reports it.
    public static let active: any KernelSet = {
        let wanted = requestedInstructionSet
        return available.first { $0.instructionSet == wanted } ?? available[available.count - 1]
    }()

    /// Checks MNEME_INSTRUCTION_SET.
    ///
    /// - Throws: `UserError` (configuration) when it names an instruction set that does not exist or that this processor lacks.
    public static func validateEnvironment() throws {
        try validate(instructionSet: requestedInstructionSet)
    }

    /// Checks one value of MNEME_INSTRUCTION_SET; nil is none.
    package static func validate(instructionSet: String?) throws {
        guard let wanted = instructionSet else { return }
        let names = available.map(\.instructionSet)
        if !names.contains(wanted) {
            throw UserError(
                .configuration, "instruction set '\(wanted)' is not one that this processor supports", at: environmentVariable,
                advice: "unset it or use one of \(names.joined(separator: ", "))")
        }
    }

    /// Flushes denormal numbers to zero in the calling thread (FTZ and DAZ). Every worker thread calls this once, since arithmetic on
    /// denormals is a hundred times slower and gradients of saturated softmaxes are full of them. Nothing on processors other than x86-64.
    public static func flushDenormals() {
        mneme_processor_flush_denormals()
    }

    /// The value of MNEME_INSTRUCTION_SET; nil when it is unset or empty.
    private static var requestedInstructionSet: String? {
        guard let value = getenv(environmentVariable) else { return nil }
        let name = String(cString: value)
        return name.isEmpty ? nil : name
    }
}
