// What a launcher hands to the program: standard streams and arguments, in whatever state they are.

import Diagnostics
import Foundation

enum StandardStreams {
    /// Opens standard streams that are closed, before any file is: the next ones to be opened would get their numbers, and what is meant for people
    /// would land in them. Output goes to /dev/null then. Input is opened so that reading it fails: a closed one is not an empty one.
    static func openMissing() {
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) < 0 && errno == EBADF {
            // The lowest number that is free is this one.
            _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDWR)
        }
    }

    /// The arguments after the program's name. They are bytes, as names of files are.
    static var arguments: [String] {
        (1..<max(1, Int(CommandLine.argc))).compactMap { index in
            CommandLine.unsafeArgv[index].map { argument in
                PathText.text(of: UnsafeRawBufferPointer(start: argument, count: strlen(argument)))
            }
        }
    }
}
