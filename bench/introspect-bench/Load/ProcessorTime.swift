import Glibc
import TestBed

/// The processor time that a process has used, all its threads, in microseconds.
struct ProcessorTime {
    var user: Double
    var system: Double

    /// That of this process.
    static var own: ProcessorTime {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func microseconds(_ time: timeval) -> Double { Double(time.tv_sec) * 1e6 + Double(time.tv_usec) }
        return ProcessorTime(user: microseconds(usage.ru_utime), system: microseconds(usage.ru_stime))
    }

    /// That of `process`, of which `/proc/PID/stat` tells no more than hundredths of a second.
    init(of process: Int32) throws(TestBedError) {
        let text = try readText(of: "/proc/\(process)/stat")
        // The name of the program, in parentheses, may hold anything; user and system time are fields 14 and 15.
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
            throw TestBedError("/proc/\(process)/stat: \(text)")
        }
        let tick = 1e6 / Double(sysconf(Int32(_SC_CLK_TCK)))
        self.init(user: user * tick, system: system * tick)
    }

    init(user: Double, system: Double) {
        self.user = user
        self.system = system
    }

    static func - (later: ProcessorTime, earlier: ProcessorTime) -> ProcessorTime {
        ProcessorTime(user: later.user - earlier.user, system: later.system - earlier.system)
    }
}
