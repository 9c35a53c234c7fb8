// The lock of a directory: one holder, signs of life, and takeover of the dead.

import Diagnostics
import Foundation
import Storage
import Synchronization
import TestSupport
import Testing

@Suite struct DirectoryLockTests {
    private let quick = DirectoryLock.Timing(interval: 0.05, patience: 0.6)

    /// The identity of a process that is dead, or on another machine.
    private func identity(machine: String? = nil, process: Int32 = 999_999_999) -> SessionIdentity {
        var identity = SessionIdentity(environment: ["SLURM_JOB_ID": "12"])
        identity.process = process
        identity.processStart = "1"
        if let machine { (identity.machine, identity.host) = (machine, "node7") }
        return identity
    }

    @Test("one holder at a time; the next one has it when it was given back")
    func exclusive() throws {
        try withScratchDirectory { directory in
            let lock = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick)
            #expect(lock.isHeld && lock.predecessor == nil)
            let error = try #require(throws: UserError.self) {
                _ = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick)
            }
            #expect(error.exitCode == .unavailable && error.description.contains("another session has this run directory: process \(getpid()) on "))
            lock.release()
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
            let next = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick)
            try next.requireHeld()
            next.release()
        }
    }

    @Test("of many that come at once, one gets it")
    func race() throws {
        try withScratchDirectory { directory in
            for round in 0..<20 {
                // Every second time there is a dead holder to take over from.
                if round % 2 == 1 { try abandon(directory, identity()) }
                let held = Mutex<[DirectoryLock]>([])
                DispatchQueue.concurrentPerform(iterations: 6) { _ in
                    if let lock = try? DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick) {
                        held.withLock { $0.append(lock) }
                    }
                }
                let locks = held.withLock { $0 }
                #expect(locks.count == 1, "round \(round)")
                #expect(locks.count { $0.isHeld } == locks.count)
                for lock in locks { lock.release() }
            }
        }
    }

    /// Leaves a lock behind, as a session that was killed does.
    private func abandon(_ directory: String, _ identity: SessionIdentity) throws {
        let bytes = try JSONEncoder().encode(identity) + Data("\n0\n".utf8)
        try bytes.write(to: URL(fileURLWithPath: "\(directory)/run.lock"))
    }

    @Test("a holder that died on this machine is taken over at once; its number may be another process's by now")
    func deadHere() throws {
        try withScratchDirectory { directory in
            for process in [999_999_999, getpid()] as [Int32] {
                try abandon(directory, identity(process: process))
                let lock = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick)
                #expect(lock.predecessor?.process == process)
                lock.release()
            }
        }
    }

    @Test("a holder on another machine: refused while it shows that it lives, taken over when it does not")
    func elsewhere() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/run.lock"
            let other = identity(machine: "another")
            try abandon(directory, other)
            let isAlive = Mutex(true)
            let beating = Thread {
                var count = 1
                while isAlive.withLock({ $0 }) {
                    if let bytes = try? JSONEncoder().encode(other) + Data("\n\(count)\n".utf8) { try? bytes.write(to: URL(fileURLWithPath: path), options: .atomic) }
                    count += 1
                    usleep(20_000)
                }
            }
            beating.start()
            let waited = Mutex<[String]>([])
            let error = try #require(throws: UserError.self) {
                _ = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick) { line in waited.withLock { $0.append(line) } }
            }
            #expect(error.description.contains("on node7 (Slurm 12)"))
            let lines = waited.withLock { $0 }
            #expect(lines.count == 1)
            isAlive.withLock { $0 = false }
            usleep(200_000)
            let lock = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick)
            #expect(lock.predecessor?.host == "node7")
            lock.release()
        }
    }

    @Test("signs of life are counted in the file; a holder that was taken over knows it, and leaves the other's lock alone")
    func signs() throws {
        try withScratchDirectory { directory in
            let lock = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick)
            func count() throws -> Int {
                let lines = try String(contentsOfFile: lock.path, encoding: .utf8).split(separator: "\n")
                return Int(lines.last ?? "") ?? -1
            }
            let start = ContinuousClock.now
            while try count() < 3 { if start.duration(to: .now) > .seconds(60) { throw CheckFailure("no sign of life in a minute") } }
            try abandon(directory, identity(machine: "another"))
            #expect(!lock.isHeld)
            #expect(try #require(throws: UserError.self) { try lock.requireHeld() }.exitCode == .unavailable)
            lock.release()
            #expect(FileManager.default.fileExists(atPath: lock.path))
        }
    }

    @Test("what is no lock is named, not taken")
    func rubbish() throws {
        try withScratchDirectory { directory in
            try Data("hello".utf8).write(to: URL(fileURLWithPath: "\(directory)/run.lock"))
            let error = try #require(throws: UserError.self) {
                _ = try DirectoryLock(directory: directory, identity: SessionIdentity(environment: [:]), timing: quick)
            }
            #expect(error.exitCode == .badData && error.description.hasPrefix("\(directory)/run.lock: is not the lock of a session"))
        }
    }
}
