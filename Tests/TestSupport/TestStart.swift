// What is settled before the first test runs.

import Diagnostics
import Foundation
import Kernels
import TestStart

/// Called while the test program is loaded, by a constructor of the module TestStart: chooses the instruction set that MNEME_INSTRUCTION_SET names,
/// as the program does at its start.
@_cdecl("mneme_tests_start")
public func startTests() {
    // A shell that starts the tests in its background has both ignored, and a script that inherits that cannot catch them.
    for number in [SIGINT, SIGQUIT] { signal(number, SIG_DFL) }
    guard let value = getenv("MNEME_INSTRUCTION_SET") else { return }
    do {
        let name = String(cString: value)
        try Kernels.choose(instructionSet: name.isEmpty ? nil : name, source: "MNEME_INSTRUCTION_SET")
    } catch {
        FileHandle.standardError.write(Data("\(error)\n".utf8))
        exit(78)
    }
}
