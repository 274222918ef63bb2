import Foundation
import TestTools
import Testing

/// What tenants can do to others with images of at most 4 MiB, whatever is in them: `INTROSPECT_HOSTILE` says how many the
/// generator makes. In a process of its own, so that its memory is what the server takes, and its end is seen.
@Suite(.serialized, .enabled(if: canMountImages)) struct HostileTenantTests {
    /// Eight of the generator's images at a time, and all of those that stopped servers once.
    @Test(.timeLimit(.minutes(HostileCampaign.mostMinutes))) func noImageHoldsUpOthersOrTakesMuchMemory() async throws {
        let count = HostileCampaign.setting("INTROSPECT_HOSTILE", usual: 16)
        let first = HostileCampaign.setting("INTROSPECT_HOSTILE_SEED", usual: 1)
        try await withMemoryFileSystem { directory in
            let longestWait = HostileCampaign.setting("INTROSPECT_HOSTILE_WAIT", usual: 5000)
            let campaign = HostileCampaign(
                directory: directory, first: first, count: count, longestWait: longestWait)
            await #expect(processExitsWith: .success) { [campaign = campaign as HostileCampaign] in
                try campaign.run()
            }
            print(String(decoding: try Data(contentsOf: URL(fileURLWithPath: campaign.notes)), as: UTF8.self))
        }
    }

    /// Calls `body` with an empty directory, in which `export` is in memory: that takes sparse files of any size.
    private func withMemoryFileSystem(_ body: (String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "introspect-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: "\(directory)/export", withIntermediateDirectories: true)
        chmod(directory, 0o755)
        try runTool("mount", ["-t", "tmpfs", "-o", "size=2G", "tmpfs", "\(directory)/export"])
        defer {
            _ = try? runTool("umount", ["--lazy", "\(directory)/export"])
            try? FileManager.default.removeItem(atPath: directory)
        }
        try await body(directory)
    }
}
