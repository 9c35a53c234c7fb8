import Foundation
import Machine
import TestSupport
import Testing

/// What is read of machines that are made up.
@Suite struct MachineTests {
    private func parts(_ memory: ControlGroups.Memory?) -> String? { memory.map { "\($0.limit) \($0.free) \($0.group)" } }

    @Test func listsOfProcessors() {
        #expect(processorNumbers("0-3,8,10-11\n") == [0, 1, 2, 3, 8, 10, 11])
        #expect(processorNumbers("") == [] && processorNumbers("x,3-1,2") == [2] && processorNumbers("0-99999999") == [])
        #expect(processorList([11, 0, 1, 2, 3, 10, 8]) == "0-3,8,10-11" && processorList([Int]()) == "")
    }

    @Test func aGroupOfVersion2AndThoseAboveIt() throws {
        // The job has the limits, as under Slurm; the task's own group has none.
        let job = "/sys/fs/cgroup/system.slice/job_7"
        let files = [
            "/proc/self/cgroup": "0::/system.slice/job_7/step_0/task_0\n", "/sys/fs/cgroup/cgroup.procs": "", "\(job)/memory.max": "600000000\n",
            "\(job)/memory.current": "200000000\n", "\(job)/memory.stat": "anon 100\nactive_file 30000000\ninactive_file 20000000\n",
            "\(job)/cpu.max": "150000 100000\n", "\(job)/step_0/task_0/memory.max": "max\n", "\(job)/step_0/task_0/cpu.max": "max 100000\n",
            "\(job)/step_0/task_0/cpuset.cpus.effective": "4-5\n",
        ]
        try withMachine(files) { files in
            let groups = ControlGroups(files)
            #expect(parts(groups.memory) == "600000000 450000000 " + job)
            #expect(groups.quota?.processors == 1.5 && groups.quota?.group == job)
            #expect(groups.processors == [4, 5])
        }
    }

    @Test func groupsOfVersion1() throws {
        let files = [
            "/proc/self/cgroup": "4:memory:/job\n3:cpuset:/job\n2:cpu,cpuacct:/job\n0::/\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "629145600\n", "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": "29145600\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n", "/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "/sys/fs/cgroup/cpuset/job/cpuset.effective_cpus": "0-1\n", "/sys/fs/cgroup/cpuset/cpuset.effective_cpus": "0-7\n",
        ]
        try withMachine(files) { files in
            let groups = ControlGroups(files)
            #expect(parts(groups.memory) == "629145600 600000000 " + "/sys/fs/cgroup/memory/job")
            #expect(groups.quota?.processors == 0.5 && groups.processors == [0, 1])
        }
    }

    @Test("within a container the group's own path may not be mounted: the limits are at the root")
    func aContainer() throws {
        try withMachine(["/proc/self/cgroup": "4:memory:/docker/abc\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n"]) { files in
            #expect(parts(ControlGroups(files).memory) == "1000 1000 " + "/sys/fs/cgroup/memory")
        }
        try withMachine([:]) { files in
            let groups = ControlGroups(files)
            #expect(groups.memory == nil && groups.quota == nil && groups.processors == nil)
        }
    }

    @Test func theProcessorsOfANode() throws {
        try withMachine(plainNode) { files in
            let processors = Processors(files, groups: ControlGroups(files))
            #expect(processors.online == Array(0...7) && processors.allowed == Array(0...7) && processors.domains == [Array(0...3), Array(4...7)])
        }
        #expect(ProcessorsPerTask(environment: ["SLURM_CPUS_PER_TASK": "8"])?.count == 8)
        #expect(ProcessorsPerTask(environment: ["SLURM_CPUS_PER_TASK": "all"]) == nil && ProcessorsPerTask(environment: [:]) == nil)
    }

    @Test("the launcher is found behind a shell, with the libraries that it has loaded")
    func theLauncher() throws {
        let files = [
            "/proc/self/stat": "100 (mneme (a) b) S 99 1", "/proc/99/stat": "99 (bash) S 98 1", "/proc/99/exe": "->/usr/bin/bash", "/proc/98/exe": "->/opt/mpi/bin/orted",
            "/proc/98/stat": "98 (orted) S 1 1", "/proc/98/status": "Cpus_allowed_list:\t0-7\n",
            "/proc/98/maps": "7f0 r-xp 00 08:01 1    /opt/mpi/lib/libopen-pal.so.40.30.2\n7f1 r-xp 00 08:01 1    /opt/mpi/lib/libopen-pal.so.40.30.2\n7f2 rw-p 00 00:00 0 \n",
        ]
        try withMachine(files) { files in
            let launcher = try #require(LaunchingProcess(files))
            #expect(launcher.program == "/opt/mpi/bin/orted" && launcher.allowed.count == 8)
            #expect(launcher.libraries == ["/opt/mpi/lib/libopen-pal.so.40.30.2"])
        }
        try withMachine(["/proc/self/stat": "100 (mneme) S 99 1", "/proc/99/stat": "99 (bash) S 0 1", "/proc/99/exe": "->/usr/bin/bash"]) { files in
            #expect(LaunchingProcess(files) == nil)
        }
    }

    @Test func theFileSystemOfAPath() throws {
        let mounts = """
            22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
            40 22 0:50 / /scratch rw shared:7 - lustre 10.0.0.1@tcp:/fast rw
            41 40 0:51 / /scratch/with\\040blank rw - nfs4 server:/home rw
            """
        try withMachine(["/proc/self/mountinfo": mounts]) { files in
            #expect(MountedFileSystem(of: "/home/run", files)?.type == "ext4")
            #expect(MountedFileSystem(of: "/scratch/run", files) == MountedFileSystem(of: "/scratch", files))
            #expect(MountedFileSystem(of: "/scratch", files)?.source == "10.0.0.1@tcp:/fast")
            #expect(MountedFileSystem(of: "/scratchy", files)?.type == "ext4")
            #expect(MountedFileSystem(of: "/scratch/with blank/x", files)?.isShared == true)
        }
    }
}
