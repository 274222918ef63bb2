import Foundation

/// One line of `Fixtures/matrix`: an image that real tools make, the same in every run.
public struct Fixture: Sendable, CustomStringConvertible {
    /// The fixture's name.
    public let name: String
    /// Size, container, workloads and mke2fs arguments, as the matrix has them.
    public let recipe: String

    /// The name and the recipe.
    public var description: String { "\(name): \(recipe)" }

    /// Whether the file system is in a partition, a logical volume or an image format, rather than the raw disk itself.
    public var hasContainer: Bool { recipe.split(separator: " ").dropFirst().first != "disk" }

    /// The directory of the recipes.
    public static let recipes: URL = packageRoot.appending(path: "Fixtures")
    static let packageRoot = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The whole matrix.
    public static let all: [Fixture] = {
        let text = (try? String(contentsOf: recipes.appending(path: "matrix"), encoding: .utf8)) ?? ""
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
            let words = line.split(separator: " ")
            return Fixture(name: String(words[0]), recipe: words.dropFirst().joined(separator: " "))
        }
    }()

    /// The fixture of that name.
    public static func named(_ name: String) -> Fixture? {
        all.first { $0.name == name }
    }

    /// Whether this process may make fixtures: they are aged by the kernel, through loop mounts.
    public static var canBeMade: Bool { geteuid() == 0 }
}
