// swift-tools-version: 6.2
import PackageDescription

// A package of its own: a fuzzer has no main, and is built with sanitizers that the library's own build does not want.
// `Fuzz/run` builds and runs them.

let names = ["fuzz-ext", "fuzz-journal", "fuzz-lvm", "fuzz-partition", "fuzz-vmdk"]

let package = Package(
    name: "introspect-fuzz",
    platforms: [.macOS(.v26)],
    products: names.map { .executable(name: $0, targets: [$0]) },
    dependencies: [.package(name: "introspect", path: "..")],
    targets: names.map { name in
        .executableTarget(
            name: name, dependencies: [.product(name: "FuzzTargets", package: "introspect")],
            swiftSettings: [.treatAllWarnings(as: .error)])
    },
    swiftLanguageModes: [.v6]
)
