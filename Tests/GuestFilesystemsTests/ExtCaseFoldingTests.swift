import Foundation
import GuestFilesystems
import TestTools
import Testing

@Suite struct ExtCaseFoldingTests {
    /// Names are the same for us when libext2fs, which has the kernel's tables, folds them to the same hash.
    @Test func namesAreTheSameThatTheKernelTakesForTheSame() throws {
        try withTemporaryDirectory { directory in
            let names = Self.names
            let script = directory + "/commands"
            let commands = names.map { "dx_hash -h half_md4 -c -e utf8 x\($0)" }.joined(separator: "\n")
            try Data("\(commands)\n".utf8).write(to: URL(fileURLWithPath: script))
            let output = try runTool("debugfs", ["-f", script])
            let hashes = output.split(separator: "\n").filter { $0.hasPrefix("Hash of ") }.map { line in
                line.split(separator: " is ").last.map(String.init) ?? ""
            }
            try #require(hashes.count == names.count)
            var classes: [String: Int] = [:]
            var wrong: [String] = []
            for (number, hash) in hashes.enumerated() {
                let name = Array("x\(names[number])".utf8)
                if let first = classes[hash] {
                    let isSame = ExtCaseFolding(Array("x\(names[first])".utf8)).isSame(name)
                    if !isSame {
                        wrong.append("\(Self.code(names[first])) and \(Self.code(names[number])) are the same")
                    }
                } else {
                    classes[hash] = number
                }
            }
            // Those of different hashes differ: each against the first of the classes around it, and its own in other case.
            let firsts = classes.values.sorted()
            for (one, other) in zip(firsts, firsts.dropFirst()) {
                if ExtCaseFolding(Array("x\(names[one])".utf8)).isSame(Array("x\(names[other])".utf8)) {
                    wrong.append("\(Self.code(names[one])) and \(Self.code(names[other])) are not the same")
                }
            }
            let hashOf = Dictionary(zip(names, hashes)) { first, _ in first }
            for (name, hash) in zip(names, hashes) {
                for other in [name.lowercased(), name.uppercased()] {
                    guard let otherHash = hashOf[other] else { continue }
                    let isSame = ExtCaseFolding(Array(name.utf8)).isSame(Array(other.utf8))
                    if isSame != (hash == otherHash) { wrong.append("\(Self.code(name)) and \(Self.code(other))") }
                }
            }
            #expect(wrong.isEmpty, "\(wrong.count): \(wrong.prefix(20))")
        }
    }

    @Test func whatIsNoTextIsTheSameAsItselfAlone() {
        let latin: [UInt8] = [0x63, 0x61, 0x66, 0xE9]
        #expect(ExtCaseFolding(latin).isSame(latin))
        #expect(!ExtCaseFolding(latin).isSame([0x43, 0x61, 0x66, 0xE9]))
        // A letter of Unicode 14.
        #expect(!ExtCaseFolding(Array("\u{2C2F}".utf8)).isSame(Array("\u{2C5F}".utf8)))
        #expect(ExtCaseFolding(Array("a\u{AD}b".utf8)).isSame(Array("AB".utf8)))
    }

    private static func code(_ name: String) -> String {
        name.unicodeScalars.map { "U+\(String($0.value, radix: 16, uppercase: true))" }.joined(separator: " ")
    }

    /// Letters with case and all that decompose, up to Unicode 12.1, and some of the rest.
    private static var names: [String] {
        (0x21...0x1FFFF).compactMap(Unicode.Scalar.init).filter { scalar in
            guard let age = scalar.properties.age, (age.major, age.minor) <= (12, 1) else { return false }
            // What the commands of debugfs cannot have in an argument.
            guard !scalar.properties.isWhitespace, ![0x22, 0x27].contains(scalar.value) else { return false }
            let changes = scalar.properties.changesWhenCaseMapped || scalar.properties.changesWhenCaseFolded
            return changes || scalar.properties.isDefaultIgnorableCodePoint || scalar.value < 0x2000
                || (0xF900..<0x1_0000).contains(scalar.value) || scalar.value % 64 == 0
        }.map { String($0) }
    }
}
