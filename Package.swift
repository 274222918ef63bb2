// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

/// Lets a module define types of its own that borrow memory (`~Escapable`).
let lifetimes: [SwiftSetting] = [.enableExperimentalFeature("Lifetimes")]

func module(_ name: String, _ dependencies: [Target.Dependency] = [], _ settings: [SwiftSetting] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict + settings)
}

func tests(of name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .testTarget(
        name: "\(name)Tests",
        dependencies: [.target(name: name)] + dependencies,
        path: "Tests/\(name)Tests",
        exclude: exclude,
        swiftSettings: strict)
}

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let signals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")

let package = Package(
    name: "introspect",
    platforms: [.macOS(.v26)],
    products: [
        .executable(name: "introspectd", targets: ["introspectd"]),
        .executable(name: "introspectctl", targets: ["introspectctl"]),
        .executable(name: "introspect-scan", targets: ["introspect-scan"]),
        .executable(name: "introspect-bench", targets: ["introspect-bench"]),
        // For the package of benchmarks.
        .library(name: "CAllocations", targets: ["CAllocations"]),
        .library(name: "HotPaths", targets: ["HotPaths"]),
        // For the package of fuzzers.
        .library(name: "FuzzTargets", targets: ["FuzzTargets"]),
        .library(name: "NetworkFuzzTargets", targets: ["NetworkFuzzTargets"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", exact: "2.13.0"),
    ],
    targets: [
        // What Swift cannot import by itself.
        .target(name: "CLinux"),
        .systemLibrary(name: "CExt2FS", pkgConfig: "ext2fs", providers: [.apt(["libext2fs-dev"])]),
        .systemLibrary(name: "CNettle", pkgConfig: "nettle", providers: [.apt(["nettle-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CTIRPC", pkgConfig: "libtirpc", providers: [.apt(["libtirpc-dev"])]),
        .systemLibrary(
            name: "CFUSE", path: "bench/CFUSE", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),

        // The library, lowest first: a module imports only what stands above it.
        module("BlockStorage", ["CLinux"]),
        module("DiskImages", ["CLinux", "BlockStorage"]),
        module("Volumes", ["BlockStorage"]),
        module("GuestFilesystems", ["BlockStorage"]),
        module("Introspection", ["BlockStorage", "DiskImages", "Volumes", "GuestFilesystems"]),
        module("Tiering", ["BlockStorage"]),
        module(
            "Datastore",
            [
                "CLinux", "CNettle", "BlockStorage", "DiskImages", "Volumes", "Introspection", "Tiering", nioCore,
                logging,
            ]),
        module("SunRPC", ["CTIRPC", "BlockStorage", nioCore, nioPosix, logging], lifetimes),
        module("NFS", ["BlockStorage", "SunRPC", "Datastore", nioCore, logging]),
        // What programs have in common that people type and read.
        module("Console", ["BlockStorage", arguments]),
        module("Control", ["BlockStorage", "Datastore", "SunRPC", nioCore, nioPosix, logging]),

        .executableTarget(
            name: "introspectd",
            dependencies: [
                "BlockStorage", "CLinux", "Console", "Control", "Datastore", "NFS", "SunRPC", nioCore, nioPosix,
                arguments, logging, signals,
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "introspectctl", dependencies: ["BlockStorage", "Console", "Control", "Datastore", arguments],
            swiftSettings: strict),
        .executableTarget(
            name: "introspect-scan",
            dependencies: [
                "CZlib", "BlockStorage", "Console", "DiskImages", "GuestFilesystems", "Introspection", "Volumes",
                arguments,
            ],
            swiftSettings: strict),

        // The test bed that tests, demo and benchmark share, and the benchmark itself.
        .target(
            name: "TestBed", dependencies: ["CLinux", "CFUSE"],
            path: "bench/TestBed", swiftSettings: strict),
        .target(
            name: "HotPaths",
            dependencies: [
                "BlockStorage", "Datastore", "Introspection", "NFS", "SunRPC", "TestBed", "Tiering", nioCore, nioPosix,
                logging,
            ],
            path: "bench/HotPaths", swiftSettings: strict),
        // Counts what the program asks memory for that is linked with it.
        .target(name: "CAllocations", path: "bench/CAllocations"),
        .executableTarget(
            name: "count-allocations", dependencies: ["CAllocations", "HotPaths", "TestBed"],
            path: "bench/count-allocations", swiftSettings: strict),
        .executableTarget(
            name: "introspect-bench",
            dependencies: [
                "BlockStorage", "CFUSE", "Console", "HotPaths", "Introspection", "TestBed", "Tiering", arguments,
            ],
            path: "bench/introspect-bench", swiftSettings: strict),

        // What tests hold the server against: a client that rpcgen makes from our own .x files.
        .target(
            name: "RPCGenClient", dependencies: ["CTIRPC"], path: "Tests/RPCGenClient",
            exclude: ["mount3.x", "nfs3.x", "regenerate.sh"], cSettings: [.disableWarning("unused-variable")]),
        tests(
            of: "NFS",
            ["RPCGenClient", "SunRPC", "Datastore", "TestBed", "TestTools", nioCore, nioPosix, logging]),

        // What tests of several modules use: running tools, temporary directories, numbers from a seed.
        .target(name: "TestTools", dependencies: ["BlockStorage"], path: "Tests/TestTools", swiftSettings: strict),
        tests(of: "BlockStorage"),
        tests(of: "Console"),
        tests(of: "Control", ["Datastore", "TestTools", nioCore, nioPosix, logging]),
        tests(of: "TestBed", ["CLinux"]),
        .testTarget(
            name: "BenchTests", dependencies: ["HotPaths", "TestBed", "count-allocations", "introspect-bench"],
            path: "Tests/BenchTests", swiftSettings: strict),
        .testTarget(
            name: "GuestTests", dependencies: ["BlockStorage", "DiskImages", "TestBed", "Volumes"],
            path: "Tests/GuestTests", exclude: ["permission-cases.pl"], swiftSettings: strict),
        .testTarget(
            name: "DaemonTests", dependencies: ["TestBed", "introspect-bench", "introspectctl", "introspectd"],
            path: "Tests/DaemonTests", swiftSettings: strict),
        tests(of: "DiskImages", ["BlockStorage", "TestTools"]),
        tests(of: "Volumes", ["BlockStorage", "TestTools"]),
        tests(of: "GuestFilesystems", ["TestTools"]),
        tests(
            of: "Introspection",
            [
                "BlockStorage", "Control", "Datastore", "DiskImages", "GuestFilesystems", "TestBed", "TestTools",
                "Volumes", nioCore, nioPosix, logging,
            ]),
        .testTarget(
            name: "IntrospectScanTests", dependencies: ["CZlib", "introspect-scan", "TestTools"],
            path: "Tests/IntrospectScanTests", swiftSettings: strict),
        .testTarget(
            name: "TieringTests", dependencies: ["BlockStorage", "TestTools", "Tiering"],
            path: "Tests/TieringTests", exclude: ["PlantedBugs"], swiftSettings: strict),
        tests(
            of: "Datastore",
            [
                "BlockStorage", "CLinux", "DiskImages", "Introspection", "Tiering", "TestTools", "Volumes", nioCore,
                logging,
            ],
            exclude: ["PlantedBugs"]),
        tests(of: "SunRPC", [nioCore, nioPosix, .product(name: "NIOEmbedded", package: "swift-nio"), logging]),

        // What fuzzers feed, and their corpus as tests.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "BlockStorage", "DiskImages", "GuestFilesystems", "Introspection", "TestTools", "Tiering", "Volumes",
            ],
            path: "Tests/FuzzTargets", swiftSettings: strict),
        .target(
            name: "NetworkFuzzTargets",
            dependencies: [
                "BlockStorage", "Datastore", "FuzzTargets", "NFS", "SunRPC", "TestTools", nioCore, nioPosix, logging,
            ],
            path: "Tests/NetworkFuzzTargets", swiftSettings: strict),
        .testTarget(
            name: "CorpusTests", dependencies: ["FuzzTargets", "NetworkFuzzTargets"], path: "Tests/CorpusTests",
            swiftSettings: strict),

        // Images that real tools make, and what libext2fs knows of them.
        .target(name: "ExtOracle", dependencies: ["CExt2FS"], path: "Tests/ExtOracle", swiftSettings: strict),
        .target(name: "FixtureKit", dependencies: ["TestTools"], path: "Tests/FixtureKit", swiftSettings: strict),
        .testTarget(
            name: "FixtureTests",
            dependencies: ["BlockStorage", "DiskImages", "ExtOracle", "FixtureKit", "Introspection", "TestTools"],
            path: "Tests/FixtureTests", swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
