import TestBed

/// What the guest does, from cold caches.
enum Workload: String, Codable, CaseIterable {
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
    static let figure: [Workload] = [.du, .stat, .find, .rm, .create, .webserver]

    /// How it is told in a report.
    var title: String {
        switch self {
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

    /// What the paper's Figure 2 says that its optimisations save, in percent; nil where it has no such bar. The text
    /// gives the figures but for creation and web server, which it gives too, and reboot.
    var savedInPaper: Int? {
        switch self {
        case .find, .du, .stat: 50
        case .rm: 95
        case .create: 11
        case .webserver: 40
        case .varmail, .scan: nil
        }
    }

    /// The images that it runs on, for one guest.
    var set: ImageSet {
        switch self {
        case .find, .du, .stat, .rm, .create, .scan: .fileserver
        case .webserver, .varmail: .webserver
        }
    }

    /// Whether the guest's file system is another afterwards.
    var changesFiles: Bool {
        switch self {
        case .find, .du, .stat, .scan: false
        case .rm, .create, .webserver, .varmail: true
        }
    }

    /// Whether the time until everything is on stable storage belongs to the work.
    var endsWithSync: Bool { self == .create }

    /// The bash command on the file system at `$root`; its output must be the same with every server. `load` runs this
    /// program's loads. Nil where no guest takes part.
    var command: String? {
        switch self {
        case .find: "find $root -name no-such-file | wc --lines"
        case .du: "du --summarize $root | cut --fields 1"
        case .stat: "find $root -print0 | xargs --null stat --format='%i %s %Y' | cksum"
        case .rm: "rm -r $root/*; ls $root | wc --lines"
        case .create: "load create $root/created --count $creations"
        case .webserver: "load webserver $root --list $list --count $requests"
        case .varmail: "load varmail $root --list $list --count $mails"
        case .scan: nil
        }
    }
}
