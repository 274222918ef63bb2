import ArgumentParser

@main
struct IntrospectScan: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "introspect-scan")
}
