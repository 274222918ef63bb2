import ArgumentParser
import Console
import TestBed

/// The parameters that all disks have, each as an option.
struct CommonDiskOverrides: ParsableArguments {
    @Option(help: "Size of the whole disk, over which a seek curve spans.")
    var capacity: ByteSize?
    @Option(help: "Bytes a second between buffer and host.")
    var interfaceRate: ByteSize?
    @Option(help: "Written data that the drive's buffer holds; 0 writes through.")
    var writeCache: ByteSize?
    @Option(help: "The most written data that goes from the buffer to the media in one go.")
    var writeBackUnit: ByteSize?
    @Option(help: "Commands that the drive holds.")
    var queueDepth: Int?

    func apply(to parameters: inout DiskParameters) {
        parameters.capacity = capacity?.bytes ?? parameters.capacity
        parameters.interfaceRate = interfaceRate?.bytes ?? parameters.interfaceRate
        parameters.writeCache = writeCache?.bytes ?? parameters.writeCache
        parameters.writeBackUnit = writeBackUnit?.bytes ?? parameters.writeBackUnit
        parameters.queueDepth = queueDepth ?? parameters.queueDepth
    }

    func apply(to parameters: inout SolidStateParameters) {
        parameters.capacity = capacity?.bytes ?? parameters.capacity
        parameters.interfaceRate = interfaceRate?.bytes ?? parameters.interfaceRate
        parameters.writeCache = writeCache?.bytes ?? parameters.writeCache
        parameters.writeBackUnit = writeBackUnit?.bytes ?? parameters.writeBackUnit
        parameters.queueDepth = queueDepth ?? parameters.queueDepth
    }
}

/// The parameters of mechanical disks.
struct MechanicalDiskOverrides: ParsableArguments {
    @Option(help: "Revolutions a minute.")
    var rpm: Int?
    @Option(help: "Bytes a second under the head.")
    var transferRate: ByteSize?
    @Option(help: "Surfaces; their tracks make a cylinder.")
    var surfaces: Int?
    @Option(help: "a of the seek curve a + b sqrt(x), in milliseconds; x is the fraction of the full stroke.")
    var seekShortBase: Double?
    @Option(help: "b of the seek curve, in milliseconds.")
    var seekShortFactor: Double?
    @Option(help: "The fraction of the full stroke from which c + e x holds.")
    var seekKnee: Double?
    @Option(help: "c of the seek curve, in milliseconds.")
    var seekLongBase: Double?
    @Option(help: "e of the seek curve, in milliseconds.")
    var seekLongFactor: Double?
    @Option(help: "Fixed cost of a command, in milliseconds.")
    var commandOverhead: Double?
    @Option(help: "How far the drive reads on.")
    var readAhead: ByteSize?
    @Option(help: "Stretches of read data in the drive's buffer.")
    var readSegments: Int?
    @Option(help: "The age, in milliseconds, at which a command goes before all others.")
    var patience: Double?

    var areGiven: Bool {
        var parameters = DiskParameters.mhz2250b
        apply(to: &parameters)
        return parameters != .mhz2250b
    }

    func apply(to parameters: inout DiskParameters) {
        func set<Value>(_ path: WritableKeyPath<DiskParameters, Value>, _ value: Value?) {
            if let value { parameters[keyPath: path] = value }
        }
        set(\.rotationsPerMinute, rpm)
        set(\.transferRate, transferRate?.bytes)
        set(\.surfaces, surfaces)
        set(\.seek.shortBase, nanoseconds(milliseconds: seekShortBase))
        set(\.seek.shortFactor, nanoseconds(milliseconds: seekShortFactor))
        set(\.seek.knee, seekKnee)
        set(\.seek.longBase, nanoseconds(milliseconds: seekLongBase))
        set(\.seek.longFactor, nanoseconds(milliseconds: seekLongFactor))
        set(\.commandOverhead, nanoseconds(milliseconds: commandOverhead))
        set(\.readAhead, readAhead?.bytes)
        set(\.readSegments, readSegments)
        set(\.patience, nanoseconds(milliseconds: patience))
    }
}

/// The parameters of solid-state disks.
struct SolidStateDiskOverrides: ParsableArguments {
    @Option(help: "A 4 KiB read from an idle disk, in microseconds.")
    var readLatency: Double?
    @Option(help: "A 4 KiB write into the buffer, in microseconds.")
    var writeLatency: Double?
    @Option(help: "Bytes a second of long reads.")
    var readBandwidth: ByteSize?
    @Option(help: "Bytes a second of long writes.")
    var writeBandwidth: ByteSize?
    @Option(help: "4 KiB reads a second with a full queue.")
    var readsPerSecond: Int?
    @Option(help: "Scattered 4 KiB writes a second.")
    var writesPerSecond: Int?
    @Option(help: "What a flush takes beside the writing, in microseconds.")
    var flushLatency: Double?
    @Option(help: "Whether a flush need not wait for the flash: true or false.")
    var powerLossProtection: Bool?

    var areGiven: Bool {
        var parameters = SolidStateParameters.x25m
        apply(to: &parameters)
        return parameters != .x25m
    }

    func apply(to parameters: inout SolidStateParameters) {
        func set<Value>(_ path: WritableKeyPath<SolidStateParameters, Value>, _ value: Value?) {
            if let value { parameters[keyPath: path] = value }
        }
        set(\.readLatency, nanoseconds(milliseconds: readLatency.map { $0 / 1000 }))
        set(\.writeLatency, nanoseconds(milliseconds: writeLatency.map { $0 / 1000 }))
        set(\.readBandwidth, readBandwidth?.bytes)
        set(\.writeBandwidth, writeBandwidth?.bytes)
        set(\.readsPerSecond, readsPerSecond)
        set(\.writesPerSecond, writesPerSecond)
        set(\.flushLatency, nanoseconds(milliseconds: flushLatency.map { $0 / 1000 }))
        set(\.isPowerLossProtected, powerLossProtection)
    }
}

/// Of what was given, at most a quarter of an hour.
private func nanoseconds(milliseconds: Double?) -> Int? {
    milliseconds.map { Int(min(max($0, 0), 1e6) * 1e6) }
}
