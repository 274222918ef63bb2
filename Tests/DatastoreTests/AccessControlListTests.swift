import CLinux
import Glibc
import Testing

@testable import Datastore

/// Files with POSIX access control lists: READ and WRITE allow what ACCESS says, which is what the kernel would.
@Suite(.enabled(if: isRoot, "acts as other users")) struct AccessControlListTests {
    /// An entry of a list as the kernel stores it (`struct posix_acl_xattr_entry`).
    private enum Entry {
        case owner(UInt16), user(UInt32, UInt16), owningGroup(UInt16), group(UInt32, UInt16), mask(UInt16)
        case others(UInt16)

        var fields: (tag: UInt16, rights: UInt16, id: UInt32) {
            switch self {
            case .owner(let rights): (0x01, rights, .max)
            case .user(let id, let rights): (0x02, rights, id)
            case .owningGroup(let rights): (0x04, rights, .max)
            case .group(let id, let rights): (0x08, rights, id)
            case .mask(let rights): (0x10, rights, .max)
            case .others(let rights): (0x20, rights, .max)
            }
        }
    }

    private func setList(_ entries: [Entry], of path: String) {
        var bytes = withUnsafeBytes(of: UInt32(2).littleEndian, Array.init)
        for entry in entries.map(\.fields) {
            bytes += withUnsafeBytes(of: entry.tag.littleEndian, Array.init)
            bytes += withUnsafeBytes(of: entry.rights.littleEndian, Array.init)
            bytes += withUnsafeBytes(of: entry.id.littleEndian, Array.init)
        }
        #expect(linux_setxattr(path, "system.posix_acl_access", bytes, bytes.count) == 0)
    }

    private static let carol = Credentials(uid: 1003, gid: 1003, groups: [3000])

    /// A READ that is answered on an event loop must not read a list from the disk.
    @Test func ofAFileThatIsOpenItIsKnown() throws {
        let test = try TestDatastore()
        let handle = try test.createFile("a")
        // A list may come within one tick of the kernel's clock.
        usleep(50_000)
        let file = try test.datastore.openFile(handle)
        let attributes = try file.descriptor.attributes()
        // What has to be asked for cannot be: there is none, which only who knows it says.
        #expect(!file.accessControlList.exists(for: -1, attributes))
    }

    @Test(arguments: Scheme.allCases)
    func readAndWriteAreAsAccessSays(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a", mode: 0o660)
        let owners = AttributeChanges(uid: alice.uid, gid: 2000)
        _ = try test.datastore.setAttributes(file, owners, guard: nil, as: .root)
        let users = [alice, bob, Self.carol, Credentials(uid: 9, gid: 9), .root, Credentials(uid: 8, gid: 2000)]
        let lists: [[Entry]] = [
            // The mask, which stands in the place of the group's bits, gives more than the group has.
            [.owner(6), .user(1003, 6), .owningGroup(0), .mask(6), .others(0)],
            [.owner(6), .user(1003, 6), .owningGroup(6), .mask(4), .others(0)],
            [.owner(6), .user(1002, 0), .owningGroup(6), .mask(6), .others(6)],
            [.owner(6), .owningGroup(4), .group(3000, 2), .mask(6), .others(0)],
            [.owner(0), .user(9, 4), .owningGroup(0), .mask(4), .others(2)],
        ]
        for list in lists {
            setList(list, of: test.local("a"))
            for user in users {
                let granted = try test.datastore.access(file, [.read, .modify], as: user).granted
                // The owner's data is the owner's.
                let isOwner = user == alice
                #expect(test.mayRead("a", as: user) == granted.contains(.read) || isOwner, "\(list), \(user)")
                #expect(test.mayWrite("a", as: user) == granted.contains(.modify) || isOwner, "\(list), \(user)")
            }
        }
    }

    /// Lists come and go behind the server's back, while the file is open.
    @Test func aListThatComesOrGoesCounts() throws {
        let test = try TestDatastore()
        _ = try test.createFile("a", mode: 0o600, as: alice)
        for _ in 0..<20 {
            #expect(!test.mayWrite("a", as: bob))
            setList([.owner(6), .user(1002, 6), .owningGroup(0), .mask(6), .others(0)], of: test.local("a"))
            #expect(test.mayWrite("a", as: bob))
            #expect(linux_removexattr(test.local("a"), "system.posix_acl_access") == 0)
            chmod(test.local("a"), 0o600)
        }
    }
}
