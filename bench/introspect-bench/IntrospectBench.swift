import ArgumentParser

@main
struct IntrospectBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "introspect-bench",
        abstract: "A disk that answers like a mechanical one, and what introspection buys on it.",
        subcommands: [
            AttachCommand.self, AttackCommand.self, AttackLoadCommand.self, BedCommandLine.self, ChurnCommand.self,
            ClassifierCommand.self, CrashCommand.self, DemoCommand.self,
            DiskCheckCommand.self, DiskCommandLine.self, DisturbedLoadCommand.self, GarbageCommand.self,
            GuestDiskCommand.self, GuestLoadCommand.self, LoadCommand.self, MicroCommand.self,
            RedirectLogCommand.self, ReportCommand.self, RunCommand.self, WriteSynchronouslyCommand.self,
        ])
}
