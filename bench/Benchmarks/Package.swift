// swift-tools-version: 6.2
import PackageDescription

// A package of its own: only who looks at the thresholds builds the framework. `make thresholds` runs it.

let package = Package(
    name: "introspect-benchmarks",
    platforms: [.macOS(.v26)],
    dependencies: [
        .package(name: "introspect", path: "../.."),
        // Without its traits, whose packages count what CAllocations counts here.
        .package(url: "https://github.com/ordo-one/benchmark.git", exact: "1.38.1", traits: []),
    ],
    targets: [
        .executableTarget(
            name: "HotPathBenchmarks",
            dependencies: [
                .product(name: "Benchmark", package: "benchmark"),
                .product(name: "CAllocations", package: "introspect"),
                .product(name: "HotPaths", package: "introspect"),
            ],
            path: "HotPathBenchmarks",
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
    ],
    swiftLanguageModes: [.v6]
)
