import ArgumentParser

/// A part of an image file, in pieces, as one file: what is on it needs no device-mapper to be mounted.
struct Volume: Sendable {
    /// A stretch of the volume on the disk, in bytes.
    struct Piece: Hashable {
        let diskOffset: Int
        let length: Int
    }

    let name: String
    let image: any ImageFile
    /// In the order of the volume.
    let pieces: [Piece]

    var size: Int { pieces.reduce(0) { $0 + $1.length } }

    /// The pieces that `range` of the volume lies in, as offsets into `range` and of the disk.
    func places(of range: Range<Int>) -> [(within: Range<Int>, diskOffset: Int)] {
        var places: [(within: Range<Int>, diskOffset: Int)] = []
        var start = 0
        for piece in pieces {
            let part = range.clamped(to: start..<start + piece.length)
            if !part.isEmpty {
                places.append(
                    (
                        part.lowerBound - range.lowerBound..<part.upperBound - range.lowerBound,
                        piece.diskOffset + part.lowerBound - start
                    ))
            }
            start += piece.length
        }
        return places
    }
}

/// A volume on the command line: NAME=FILE, the whole file, or NAME=FILE:OFFSET+LENGTH,OFFSET+LENGTH…
struct VolumeArgument: ExpressibleByArgument, Hashable {
    let name: String
    let file: String
    /// None for the whole file.
    let pieces: [Volume.Piece]

    init(name: String, file: String, pieces: [Volume.Piece] = []) {
        self.name = name
        self.file = file
        self.pieces = pieces
    }

    init?(argument: String) {
        let sides = argument.split(separator: "=", maxSplits: 1).map(String.init)
        guard sides.count == 2, !sides[0].contains("/") else { return nil }
        let parts = sides[1].split(separator: ":", maxSplits: 1).map(String.init)
        guard let file = parts.first else { return nil }
        var pieces: [Volume.Piece] = []
        for text in parts.count == 2 ? parts[1].split(separator: ",") : [] {
            let numbers = text.split(separator: "+").map { Int($0) }
            guard numbers.count == 2, let offset = numbers[0], let length = numbers[1], offset >= 0, length > 0 else {
                return nil
            }
            pieces.append(Volume.Piece(diskOffset: offset, length: length))
        }
        self.init(name: sides[0], file: file, pieces: pieces)
    }

    /// As it is written on the command line.
    var text: String {
        let places = pieces.map { "\($0.diskOffset)+\($0.length)" }.joined(separator: ",")
        return "\(name)=\(file)" + (places.isEmpty ? "" : ":\(places)")
    }
}
