import BlockStorage
import Glibc

/// Paths of this machine on the command line.
///
/// Arguments come as they are shown (``IntrospectScan/main()``), which is how guests' paths are taken. Of the machine's own
/// that would be another name than the one that was typed.
enum HostPaths {
    /// The command line, byte for byte.
    static let arguments: [ByteString] = (1..<max(1, Int(CommandLine.argc))).compactMap { number in
        CommandLine.unsafeArgv[number].map { ByteString(UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
    }

    /// What was not typed as text, as it is shown.
    private static let notText = arguments.filter { $0.text == nil }.map(\.json)

    /// Refuses a path that was not typed as text.
    static func check(_ path: String) throws(Refusal) {
        guard notText.contains(where: { $0 == path || $0.hasPrefix("-") && $0.hasSuffix("=\(path)") }) else { return }
        throw Refusal("\(path): is not UTF-8: give it another name, or a link with one")
    }
}
