/// Which names a directory that ignores case takes for the same: what Linux's `utf8_strncasecmp` does.
///
/// Names are compared by full case folding and canonical decomposition, without code points that are ignorable by
/// default (NFDICF of Unicode 12.1, the one encoding that ext4 has). A name that is not UTF-8, or has a code point that
/// Unicode 12.1 does not have, is the same as none but itself.
/// Source: `fs/unicode/utf8-norm.c`, `Documentation/filesystems/ext4/super.rst` (`s_encoding`).
public struct ExtCaseFolding: Sendable {
    /// `s_encoding` of UTF-8 as of Unicode 12.1.
    public static let utf8: UInt16 = 1

    /// The highest version of Unicode whose code points have a meaning in names.
    private static let version = (major: 12, minor: 1)

    private let name: [UInt8]
    private let key: String?

    /// What is the same as `name`.
    public init(_ name: [UInt8]) {
        self.name = name
        key = Self.key(name)
    }

    /// Whether the directory takes `other` for the name.
    public func isSame(_ other: [UInt8]) -> Bool {
        if other == name { return true }
        guard let key else { return false }
        // Strings are equal when they are canonically equivalent.
        return Self.key(other) == key
    }

    private static func key(_ name: [UInt8]) -> String? {
        guard let text = String(validating: name, as: UTF8.self) else { return nil }
        var folded = ""
        for scalar in text.unicodeScalars {
            guard let age = scalar.properties.age, (age.major, age.minor) <= (version.major, version.minor) else {
                return nil
            }
            guard !scalar.properties.isDefaultIgnorableCodePoint else { continue }
            folded += fold(scalar)
        }
        return folded
    }

    /// A text that stands for all with the scalar's full case folding (CaseFolding.txt, C and F).
    ///
    /// The standard library has no case folding, but mappings to upper and lower case that lead from each member of a
    /// class to the same text; the dotless i alone is mapped to I and folded to itself.
    private static func fold(_ scalar: Unicode.Scalar) -> String {
        guard scalar.value >= 0x80 else { return scalar.properties.lowercaseMapping }
        guard scalar != "\u{131}" else { return String(scalar) }
        let upper = map(scalar.properties.lowercaseMapping) { $0.uppercaseMapping }
        return map(upper) { $0.lowercaseMapping }
    }

    private static func map(_ text: String, _ mapping: (Unicode.Scalar.Properties) -> String) -> String {
        text.unicodeScalars.reduce(into: "") { $0 += mapping($1.properties) }
    }
}
