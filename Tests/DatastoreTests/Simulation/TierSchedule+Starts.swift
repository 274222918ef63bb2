import BlockStorage
import Foundation
import Glibc

@testable import Datastore
@testable import Tiering

/// What is wrong when a server starts, beside files that cannot be opened.
enum StartFault: Equatable {
    case none
    /// The options name no fast device.
    case withoutTier
    /// The log's files are not in these directories.
    case missing([Int])
    /// The devices of these directories fail.
    case failing([Int])
    case otherLayout(TierSchedule.Layout)
    /// The log's files in these directories are older copies, in the same files or in others.
    case older([Int], inOtherFiles: Bool)
    /// A register is cut off, changed or gone.
    case damagedRegister(String, before: Data)
    case lostKey
    /// The mode of all images is off.
    case off

    /// The layout that the options say, if that is not the one that the log was made in.
    var layout: TierSchedule.Layout? {
        if case .otherLayout(let layout) = self { layout } else { nil }
    }

    /// Whether images that need the log may have to be refused.
    var takesLogAway: Bool {
        switch self {
        case .withoutTier, .missing, .failing, .otherLayout, .older: true
        case .none, .damagedRegister, .lostKey, .off: false
        }
    }

    /// Whether the server may refuse to start.
    var mayEndStart: Bool {
        switch self {
        case .none, .off, .withoutTier: false
        case .missing, .failing, .otherLayout, .older, .damagedRegister, .lostKey: true
        }
    }
}

extension TierSchedule {
    private static let registers = [
        RedirectRegister.fileName, RedirectRegister.fileName, LogNotes.fileName, LateTimes.registerName,
        StateContents.fileName,
    ]

    func chooseFault() -> StartFault {
        switch below(20) {
        case 0, 1: return .withoutTier
        case 2, 3: return .missing(someDevices())
        case 4: return .failing(someDevices())
        case 5, 6: return pick(Layout.all.filter { $0 != layout }).map { .otherLayout($0) } ?? .none
        case 7, 8: return olderLogs == nil ? .none : .older(someDevices(), inOtherFiles: oneIn(4))
        case 9, 10:
            let name = Self.registers[below(Self.registers.count)]
            guard let before = try? machine.stateFiles()[name] else { return .none }
            return .damagedRegister(name, before: before)
        case 11: return .lostKey
        case 12: return .off
        default: return .none
        }
    }

    /// One of the log's devices, or all.
    private func someDevices() -> [Int] {
        oneIn(2) ? layout.ssds : [layout.ssds[below(layout.ssds.count)]]
    }

    func breakSomething() throws {
        if oneIn(6), let file = pick(present) {
            let inode = model.withLock { $0.files[file].inode }
            let error = oneIn(2) ? ESTALE : EIO
            note("file \(file) cannot be opened: \(error)")
            machine.faults.withLock { $0.unreachable[inode] = error }
        }
        switch fault {
        case .none, .withoutTier, .otherLayout, .off: return
        case .missing(let devices):
            for device in devices { rename(machine.log(device), "\(machine.log(device)).away") }
        case .failing(let devices):
            machine.faults.withLock { $0.failing = Set(devices.map(machine.ssd)) }
        case .older(let devices, let inOtherFiles):
            for device in devices {
                guard let bytes = olderLogs?[machine.log(device)] else { continue }
                let away = "\(machine.log(device)).away"
                if inOtherFiles {
                    rename(machine.log(device), away)
                } else {
                    try Data(contentsOf: URL(filePath: machine.log(device))).write(to: URL(filePath: away))
                }
                try machine.overwrite(machine.log(device), bytes)
            }
        case .damagedRegister(let name, let before): try damage(name, before)
        case .lostKey: rename("\(machine.state)/handle-key", "\(machine.directory)/key")
        }
    }

    private func damage(_ name: String, _ before: Data) throws {
        guard !before.isEmpty, !oneIn(5) else {
            unlink("\(machine.state)/\(name)")
            return
        }
        var bytes = before.prefix(below(before.count))
        if oneIn(3) {
            bytes = before
            bytes[bytes.startIndex + below(bytes.count)] ^= UInt8(1 << below(8))
        }
        try machine.writeState(name, Data(bytes))
    }

    /// Undoes what was wrong at the start, when no server runs or to have the log attached.
    func putRight() throws {
        switch fault {
        case .none, .withoutTier, .otherLayout, .off: break
        case .failing: machine.faults.withLock { $0.failing = [] }
        case .missing(let devices):
            for device in devices {
                let away = "\(machine.log(device)).away"
                guard access(away, F_OK) == 0 else { continue }
                // Where no image needed the log, another has its place by now.
                if wasAttached { unlink(away) } else { rename(away, machine.log(device)) }
            }
        case .older(let devices, let inOtherFiles):
            for device in devices {
                let away = "\(machine.log(device)).away"
                guard access(away, F_OK) == 0 else { continue }
                // What the server took is the log by now.
                if wasAttached {
                    unlink(away)
                } else if inOtherFiles {
                    rename(away, machine.log(device))
                } else {
                    try machine.overwrite(machine.log(device), Data(contentsOf: URL(filePath: away)))
                    unlink(away)
                }
            }
        case .damagedRegister(let name, let before):
            // A server that has started has written its own.
            if datastore == nil, !hasStarted { try machine.writeState(name, before) }
        case .lostKey:
            let key = "\(machine.directory)/key"
            if access(key, F_OK) == 0 { rename(key, "\(machine.state)/handle-key") }
        }
        if oneIn(3) { olderLogs = try machine.logs() }
    }
}
