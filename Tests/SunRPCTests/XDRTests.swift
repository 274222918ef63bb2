import NIOCore
import Testing

@testable import SunRPC

@Suite struct XDRTests {
    @Test func everyTypeComesBackAsItWasWritten() throws {
        var writer = XDRWriter(capacity: 16)
        writer.write(0xDEAD_BEEF as UInt32)
        writer.write(-2 as Int32)
        writer.write(0x0123_4567_89AB_CDEF as UInt64)
        writer.write(Int64.min)
        writer.write(true)
        writer.write(false)
        writer.write(RPCAuthenticationStatus.tooWeak)
        writer.write("élan")
        writer.writeOpaque(ByteBuffer(bytes: [1, 2, 3]))
        writer.writeFixedOpaque(([9, 8] as [UInt8]).span.bytes)

        let bytes = writer.buffer
        var reader = XDRReader(bytes.readableBytesSpan)
        #expect(try reader.uint32() == 0xDEAD_BEEF)
        #expect(try reader.int32() == -2)
        #expect(try reader.uint64() == 0x0123_4567_89AB_CDEF)
        #expect(try reader.int64() == Int64.min)
        #expect(try reader.bool())
        #expect(try !reader.bool())
        #expect(try reader.enumeration(RPCAuthenticationStatus.self) == .tooWeak)
        #expect(try reader.string(max: 5) == "élan")
        #expect(try reader.opaque(max: 3).array == [1, 2, 3])
        #expect(try reader.fixedOpaque(2).array == [9, 8])
        #expect(reader.remaining == 0)
    }

    @Test func theEncodingIsThatOfTheRFC() {
        var writer = XDRWriter(capacity: 0)
        writer.write(258 as UInt32)
        writer.write("ab\u{e9}")
        writer.write(true)
        #expect(Array(writer.buffer.readableBytesView) == [0, 0, 1, 2, 0, 0, 0, 4, 97, 98, 0xC3, 0xA9, 0, 0, 0, 1])
    }

    @Test(arguments: 0...9) func opaqueDataIsPaddedWithZeros(length: Int) {
        var writer = XDRWriter(capacity: 0)
        writer.writeOpaque(ByteBuffer(repeating: 0xFF, count: length))
        let expected =
            [0, 0, 0, UInt8(length)] + Array(repeating: 0xFF, count: length)
            + Array(repeating: 0, count: (4 - length % 4) % 4)
        #expect(Array(writer.buffer.readableBytesView) == expected)
    }

    @Test func aReservedPlaceIsPatched() {
        var writer = XDRWriter(capacity: 0)
        let place = writer.reserve(12)
        writer.write(7 as UInt32)
        writer.patch(0x0102_0304 as UInt32, at: place)
        writer.patch(5 as UInt64, at: place + 4)
        #expect(
            Array(writer.buffer.readableBytesView) == [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 7])
        writer.truncate(to: place + 4)
        #expect(writer.count == 4)
    }
}
