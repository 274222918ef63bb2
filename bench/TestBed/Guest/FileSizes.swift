import Glibc

/// How large the files of a guest are.
public enum FileSizes: Hashable, Sendable, Codable {
    /// Most files are small, a quarter is beyond what an inode maps by itself, a few need two levels of indirect
    /// blocks.
    case desktop
    /// Filebench's gamma distribution with the shape 1.5 and a mean in bytes: its file server has 128 KiB, its web
    /// server 16 KiB.
    case gamma(mean: Int)

    /// The size of one file in bytes, at least 1.
    func random(using generator: inout SeededGenerator) -> Int {
        switch self {
        case .desktop:
            switch Int.random(in: 0..<1000, using: &generator) {
            case 0..<720: Int.random(in: 200..<24 << 10, using: &generator)
            case 720..<994: Int.random(in: 49 << 10..<144 << 10, using: &generator)
            default: Int.random(in: 1 << 20..<6 << 20, using: &generator)
            }
        case .gamma(let mean):
            max(1, Int(Double(mean) * Self.gamma(using: &generator) / 1.5))
        }
    }

    /// A gamma variate of shape 1.5 and mean 1.5: an exponential one, and half the square of a normal one.
    private static func gamma(using generator: inout SeededGenerator) -> Double {
        let uniform = { (generator: inout SeededGenerator) in Double.random(in: 1e-12..<1, using: &generator) }
        let exponential = -log(uniform(&generator))
        let normal = (-2 * log(uniform(&generator))).squareRoot() * cos(2 * .pi * uniform(&generator))
        return exponential + normal * normal / 2
    }
}
