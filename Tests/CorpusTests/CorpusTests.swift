import Foundation
import FuzzTargets
import NetworkFuzzTargets
import Testing

/// What fuzzers start from and what they once found, without a fuzzer.
struct CorpusTests {
    @Test(arguments: FuzzTarget.imageParsers + FuzzTarget.deviceParsers + FuzzTarget.networkParsers)
    func everyInputOfTheCorpusIsHarmless(target: FuzzTarget) throws {
        let inputs = try FileManager.default.contentsOfDirectory(at: target.corpus, includingPropertiesForKeys: nil)
        #expect(!inputs.isEmpty)
        for input in inputs {
            try Data(contentsOf: input).withUnsafeBytes { target.run($0) }
        }
    }
}
