import BlockStorage
import TestTools
import Testing

@testable import Volumes

struct VolumeMapTests {
    @Test func piecesOfARandomMapCoverEveryRangeInOrderAndMapBack() throws {
        var generator = SplitMix64(seed: 1)
        for _ in 0..<200 {
            let (map, size) = try randomMap(&generator)
            for _ in 0..<20 {
                let start = Int.random(in: 0..<size, using: &generator)
                let range = ByteRange(offset: start, length: Int.random(in: 0...(size - start), using: &generator))
                var next = range.offset
                map.forEachDiskRange(of: range) { diskRange, volumeOffset in
                    #expect(volumeOffset == next && !diskRange.isEmpty)
                    next += diskRange.length
                    var back = volumeOffset
                    var disk = diskRange.offset
                    map.forEachVolumeRange(ofDisk: diskRange) { volumeRange, diskOffset in
                        #expect(volumeRange.offset == back && diskOffset == disk)
                        back += volumeRange.length
                        disk += volumeRange.length
                    }
                    #expect(disk == diskRange.end)
                }
                #expect(next == range.end)
            }
        }
    }

    @Test func everyByteOfASmallStripedMapHasAPlaceOfItsOwn() throws {
        var generator = SplitMix64(seed: 2)
        for _ in 0..<50 {
            let (map, size) = try randomMap(&generator, unit: 1)
            var seen: Set<Int> = []
            for offset in 0..<size {
                map.forEachDiskRange(of: ByteRange(offset: offset, length: 1)) { diskRange, _ in
                    #expect(seen.insert(diskRange.offset).inserted)
                    #expect(map.volumeOffset(ofDiskOffset: diskRange.offset) == offset)
                }
            }
            #expect(seen.count == size)
            let outside = (0..<(map.diskRanges.last?.end ?? 0) + 10).filter { !seen.contains($0) }
            #expect(outside.allSatisfy { map.volumeOffset(ofDiskOffset: $0) == nil })
        }
    }

    @Test func copiesLeadToTheVolumeAndAreNotRead() throws {
        func linear(_ volumeOffset: Int, _ length: Int, at disk: Int) -> VolumeMap.Segment {
            VolumeMap.Segment(volumeOffset: volumeOffset, length: length, columns: [disk], stripeSize: length)
        }
        let map = try #require(
            VolumeMap(
                segments: [linear(0, 100, at: 1000), linear(100, 50, at: 3000)],
                copies: [linear(0, 30, at: 2000), linear(30, 120, at: 500)]))
        #expect(map.mappedBytes == 150 && map.end == 150)
        #expect(map.diskRanges.map(\.offset) == [500, 1000, 2000, 3000])
        for (disk, volume) in [(500, 30), (619, 149), (1000, 0), (2029, 29), (3049, 149)] {
            #expect(map.volumeOffset(ofDiskOffset: disk) == volume)
        }
        var read: [ByteRange] = []
        map.forEachDiskRange(of: ByteRange(offset: 0, length: 150)) { range, _ in read.append(range) }
        #expect(read == [ByteRange(offset: 1000, length: 100), ByteRange(offset: 3000, length: 50)])
        #expect(VolumeMap(segments: [linear(0, 10, at: 0)], copies: [linear(5, 10, at: 100)]) == nil)
        #expect(VolumeMap(segments: [linear(0, 10, at: 0)], copies: [linear(0, 10, at: 5)]) == nil)
    }

    @Test func stripesGoRoundTheColumns() throws {
        let segment = VolumeMap.Segment(volumeOffset: 0, length: 8192, columns: [100_000, 50_000], stripeSize: 1024)
        let map = try #require(VolumeMap(segments: [segment]))
        var pieces: [ByteRange] = []
        map.forEachDiskRange(of: ByteRange(offset: 512, length: 2048)) { diskRange, _ in pieces.append(diskRange) }
        #expect(
            pieces == [
                ByteRange(offset: 100_512, length: 512), ByteRange(offset: 50_000, length: 1024),
                ByteRange(offset: 101_024, length: 512),
            ])
    }

    @Test func mapsThatContradictThemselvesAreRefused() {
        func segment(_ offset: Int, _ length: Int, _ columns: [Int], _ stripe: Int) -> VolumeMap.Segment {
            VolumeMap.Segment(volumeOffset: offset, length: length, columns: columns, stripeSize: stripe)
        }
        #expect(VolumeMap(segments: [segment(0, 10, [0], 10), segment(5, 10, [100], 10)]) == nil)
        #expect(VolumeMap(segments: [segment(0, 10, [0], 10), segment(10, 10, [5], 10)]) == nil)
        #expect(VolumeMap(segments: [segment(0, 10, [0, 4], 5)]) == nil)
        #expect(VolumeMap(segments: [segment(0, 10, [0, 100, 200], 1)]) == nil)
        #expect(VolumeMap(segments: [segment(0, 10, [0, 100], 2)]) == nil)
        #expect(VolumeMap(segments: [segment(Int.max - 5, 10, [0], 10)]) == nil)
        #expect(VolumeMap(segments: [segment(0, 10, [Int.max - 5], 10)]) == nil)
        #expect(VolumeMap(segments: [segment(0, 10, [], 10)]) == nil)
        #expect(VolumeMap(segments: [segment(0, 10, [0, 100], 5)]) != nil)
    }

    /// Segments of one to four columns that lie shuffled, with gaps between them, on the disk.
    private func randomMap(_ generator: inout SplitMix64, unit: Int? = nil) throws -> (map: VolumeMap, size: Int) {
        let unit = unit ?? 512 << Int.random(in: 0...7, using: &generator)
        var shapes: [(columns: Int, stripe: Int, rows: Int)] = []
        for _ in 0..<Int.random(in: 1...6, using: &generator) {
            let stripe = unit * Int.random(in: 1...4, using: &generator)
            shapes.append((Int.random(in: 1...4, using: &generator), stripe, Int.random(in: 1...5, using: &generator)))
        }
        var places = shapes.indices.flatMap { shape in (0..<shapes[shape].columns).map { (shape, $0) } }
        places.shuffle(using: &generator)
        var columns = shapes.map { [Int](repeating: 0, count: $0.columns) }
        var diskOffset = 0
        for (shape, column) in places {
            diskOffset += unit * Int.random(in: 0...2, using: &generator)
            columns[shape][column] = diskOffset
            diskOffset += shapes[shape].stripe * shapes[shape].rows
        }
        var segments: [VolumeMap.Segment] = []
        var size = 0
        for (shape, offsets) in zip(shapes, columns) {
            let length = shape.stripe * shape.rows * shape.columns
            let stripe = shape.columns == 1 ? length : shape.stripe
            segments.append(VolumeMap.Segment(volumeOffset: size, length: length, columns: offsets, stripeSize: stripe))
            size += length
        }
        return (try #require(VolumeMap(segments: segments)), size)
    }
}
