// swift-tools-version: 6.2
import PackageDescription

// A package of its own: a fuzzer has no main, and is built with sanitizers that the library's own build does not want.
// `Fuzz/run` builds and runs them.

func fuzzer(_ name: String, of library: String = "FuzzTargets") -> Target {
    .executableTarget(
        name: name, dependencies: [.product(name: library, package: "introspect")],
        swiftSettings: [.treatAllWarnings(as: .error)])
}

let fuzzers = [
    fuzzer("fuzz-ext"),
    fuzzer("fuzz-journal"),
    fuzzer("fuzz-lvm"),
    fuzzer("fuzz-nfs-call", of: "NetworkFuzzTargets"),
    fuzzer("fuzz-partition"),
    fuzzer("fuzz-redirect-log"),
    fuzzer("fuzz-vmdk"),
    fuzzer("fuzz-xdr", of: "NetworkFuzzTargets"),
]

let package = Package(
    name: "introspect-fuzz",
    platforms: [.macOS(.v26)],
    products: fuzzers.map { .executable(name: $0.name, targets: [$0.name]) },
    dependencies: [.package(name: "introspect", path: "..")],
    targets: fuzzers,
    swiftLanguageModes: [.v6]
)
