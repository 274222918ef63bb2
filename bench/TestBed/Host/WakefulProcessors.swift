import Glibc

/// Keeps this machine's processors awake until it is let go, or the process ends.
///
/// A processor that has nothing to do for a moment goes to sleep, and that of a virtual machine wakes up when its host
/// finds the time: one answer in a chain of thousands may take 50 µs or 500 more, for minutes at a time. While somebody
/// holds `/dev/cpu_dma_latency` open with a latency of nothing, Linux has idle processors wait without sleeping
/// (Documentation/power/pm_qos_interface.rst).
public final class WakefulProcessors {
    private let descriptor: Int32

    /// Nil where this machine has no such device, or does not let us.
    public init?() {
        descriptor = open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        var latency: Int32 = 0
        guard write(descriptor, &latency, MemoryLayout.size(ofValue: latency)) == MemoryLayout.size(ofValue: latency)
        else { return nil }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }
}
