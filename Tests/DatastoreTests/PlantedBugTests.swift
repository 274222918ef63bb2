import Foundation
import TestTools
import Testing

/// Bugs that are planted to see whether the simulations find them: running those takes long, and is for people.
struct PlantedBugTests {
    /// Whoever changes what a bug was planted in is told so at once.
    @Test(arguments: ["TieringTests", "DatastoreTests"]) func everyBugHasAPlaceInTheSources(tests: String) throws {
        let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
        try runTool("bash", ["\(directory)/\(tests)/PlantedBugs/run.sh", "--check"])
    }
}
