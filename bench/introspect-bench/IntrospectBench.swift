import ArgumentParser

@main
struct IntrospectBench: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "introspect-bench")
}
