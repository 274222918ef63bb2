import ArgumentParser

@main
struct IntrospectDaemon: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "introspectd")
}
