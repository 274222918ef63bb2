import Foundation
import Testing

@Suite("The rpcgen client")
struct GeneratedCodeTests {
    @Test("The generated files are what rpcgen makes of the .x files today")
    func isCurrent() throws {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "RPCGenClient")
        let fresh = try TemporaryDirectory()
        let process = Process()
        process.executableURL = source.appending(path: "regenerate.sh")
        process.arguments = [fresh.path]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "rpcgen (Debian's rpcsvc-proto) does not run")
        for name in ["include/mount3.h", "include/nfs3.h", "mount3_xdr.c", "nfs3_xdr.c"] {
            let made = try String(contentsOfFile: fresh.path + "/" + name, encoding: .utf8)
            let committed = try String(contentsOf: source.appending(path: name), encoding: .utf8)
            #expect(made == committed, "\(name) is not current: run Tests/RPCGenClient/regenerate.sh")
        }
    }
}
