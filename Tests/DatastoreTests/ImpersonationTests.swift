import Glibc
import Testing

@testable import Datastore

/// What a thread of the server may do while it acts for a user.
struct ImpersonationTests {
    /// Quotas and the blocks that a file system keeps bind the user, which no file system need be filled up to see.
    @Test(
        .enabled(
            if: isRoot && Capabilities.ofThread().has(.exceedLimits),
            "without CAP_SYS_RESOURCE, which this machine gives nobody, nothing can be taken out of effect"))
    func limitsBindTheUser() throws {
        let impersonation = Impersonation()
        try #require(impersonation.isPossible)
        let before = Capabilities.ofThread()
        for mayTakeSpace in [true, false] {
            let during = try impersonation.run(as: alice, mayTakeSpace: mayTakeSpace) { () throws(DatastoreError) in
                Capabilities.ofThread()
            }
            #expect(during.has(.exceedLimits) != mayTakeSpace)
            #expect(Capabilities.ofThread() == before)
        }
        // Root is not bound.
        let roots = try impersonation.run(as: .root, mayTakeSpace: true) { () throws(DatastoreError) in
            Capabilities.ofThread()
        }
        #expect(roots == before)
    }
}
