import TestBed

/// What the guest does, from cold caches.
enum Workload: String, Codable, CaseIterable {
    /// A virtual machine starts, under QEMU.
    case boot
    /// It starts again by its own wish: the server's caches are as the boot left them, the guest's are gone.
    case reboot
    case find
    case du
    case stat
    case rm
    case create
    case webserver
    case varmail
    /// The server looks into the image after its start: no guest takes part.
    case scan

    /// Those of the paper's figure, in its order.
    static let figure: [Workload] = [.boot, .reboot, .du, .stat, .find, .rm, .create, .webserver]

    /// How it is told in a report.
    var title: String {
        switch self {
        case .boot: "guest boot"
        case .reboot: "guest reboot"
        case .find: "find of a name that is not there"
        case .du: "du -s"
        case .stat: "stat of every file"
        case .rm: "rm -r of everything"
        case .create: "creation of many files"
        case .webserver: "web server"
        case .varmail: "mail server (varmail)"
        case .scan: "scan"
        }
    }

    /// What the paper's Figure 2 and its text say that its optimisations save, in percent; nil where it has no such
    /// bar.
    var savedInPaper: Int? {
        switch self {
        case .find, .du, .stat: 50
        case .rm: 95
        case .create: 11
        case .webserver: 40
        case .reboot: 14
        case .boot, .varmail, .scan: nil
        }
    }

    /// The images that it runs on, for one guest.
    var set: ImageSet {
        switch self {
        case .find, .du, .stat, .rm, .create, .scan: .fileserver
        case .webserver, .varmail: .webserver
        case .boot, .reboot: .systems(1)
        }
    }

    /// The images for so many guests at once; nil where there is nothing to be learned from more than one.
    func copies(_ count: Int) -> ImageSet? {
        switch self {
        case .find, .du, .stat, .rm, .create: .clones(count)
        case .boot: .systems(count)
        case .reboot, .webserver, .varmail, .scan: nil
        }
    }

    /// Whether the guest's file system is another afterwards.
    var changesFiles: Bool {
        switch self {
        case .find, .du, .stat, .scan: false
        case .boot, .reboot, .rm, .create, .webserver, .varmail: true
        }
    }

    /// Whether the work is done before it is on stable storage, so that the `sync` after it is worth telling.
    var endsDirty: Bool { changesFiles && !endsWithSync && command != nil }

    /// Whether the time until everything is on stable storage belongs to the work.
    var endsWithSync: Bool { self == .create }

    /// The bash command on the file system at `$root`; its output must be the same with every server. `load` runs this
    /// program's loads. Nil where no guest takes part that runs already.
    var command: String? {
        switch self {
        case .find: "find $root -name no-such-file | wc --lines"
        case .du: "du --summarize $root | cut --fields 1"
        case .stat: "find $root -print0 | xargs --null stat --format='%i %s %Y' | cksum"
        case .rm: "rm -r $root/*; ls $root | wc --lines"
        case .create: "load create $root/created --count $creations"
        case .webserver: "load webserver $root --list $list --count $requests"
        case .varmail: "load varmail $root --list $list --count $mails"
        case .boot, .reboot, .scan: nil
        }
    }
}
