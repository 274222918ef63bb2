import NIOCore
import Testing

@testable import SunRPC

/// What a hostile sender can put where a value is expected.
@Suite struct XDRMalformedTests {
    @Test(arguments: 0...3) func aWordIsNotReadFromFewerBytes(count: Int) {
        let bytes = [UInt8](repeating: 1, count: count)
        var reader = XDRReader(bytes.span.bytes)
        let expected = XDRError(.endOfData(needed: 4, available: count), offset: 0)
        #expect(failure { () throws(XDRError) in _ = try reader.uint32() } == expected)
        #expect(failure { () throws(XDRError) in _ = try reader.bool() } == expected)
        #expect(failure { () throws(XDRError) in _ = try reader.opaqueRange(max: 8) } == expected)
        #expect(failure { () throws(XDRError) in _ = try reader.arrayCount(max: 8) } == expected)
        #expect(reader.offset == 0)
    }

    @Test(arguments: 0...7) func aHyperIsNotReadFromFewerBytes(count: Int) {
        let bytes = [UInt8](repeating: 1, count: count)
        var reader = XDRReader(bytes.span.bytes)
        let expected = XDRError(.endOfData(needed: 8, available: count), offset: 0)
        #expect(failure { () throws(XDRError) in _ = try reader.uint64() } == expected)
        #expect(reader.offset == 0)
    }

    @Test(arguments: [2, 255, 0x0100_0000, UInt32.max]) func aBooleanIsZeroOrOne(value: UInt32) {
        let bytes = words(value)
        var reader = XDRReader(bytes.span.bytes)
        #expect(
            failure { () throws(XDRError) in _ = try reader.bool() } == XDRError(.invalidValue(value), offset: 0))
        #expect(reader.offset == 0)
    }

    @Test(arguments: [0, 6, UInt32.max]) func anEnumerationHasOnlyItsValues(value: UInt32) {
        let bytes = words(7, value)
        var reader = XDRReader(bytes.span.bytes)
        #expect(throws: Never.self) { try reader.skip(4) }
        let error = failure { () throws(XDRError) in _ = try reader.enumeration(RPCAuthenticationStatus.self) }
        #expect(error == XDRError(.invalidValue(value), offset: 4))
        #expect(reader.offset == 4)
    }

    @Test(arguments: [5, 0x7FFF_FFFF, 0x8000_0000, UInt32.max - 3, UInt32.max])
    func aLengthAboveTheLimitIsRefused(length: UInt32) {
        let bytes = words(length, 1, 1)
        var reader = XDRReader(bytes.span.bytes)
        let expected = XDRError(.tooLong(length: length, maximum: 4), offset: 0)
        #expect(failure { () throws(XDRError) in _ = try reader.opaqueRange(max: 4) } == expected)
        #expect(failure { () throws(XDRError) in _ = try reader.string(max: 4) } == expected)
        #expect(failure { () throws(XDRError) in _ = try reader.arrayCount(max: 4) } == expected)
        #expect(reader.offset == 0)
    }

    @Test(arguments: [9, 0x7FFF_FFFF, UInt32.max]) func aLengthBeyondTheDataIsRefused(length: UInt32) {
        let bytes = words(length, 1, 1)
        var reader = XDRReader(bytes.span.bytes)
        let expected = XDRError(.endOfData(needed: Int(length), available: 8), offset: 4)
        #expect(failure { () throws(XDRError) in _ = try reader.opaqueRange(max: .max) } == expected)
        #expect(reader.offset == 0)
    }

    @Test(arguments: 1...3) func missingPaddingIsRefused(length: Int) {
        // The bytes are all there, and one byte of padding is not.
        let bytes = words(UInt32(length)) + [UInt8](repeating: 1, count: 3)
        var reader = XDRReader(bytes.span.bytes)
        let expected = XDRError(.endOfData(needed: 4, available: 3), offset: 4)
        #expect(failure { () throws(XDRError) in _ = try reader.opaqueRange(max: 8) } == expected)
        #expect(reader.offset == 0)
    }

    @Test(arguments: [-1, Int.min, Int.max, 5]) func aCountOutsideTheDataIsRefused(count: Int) {
        let bytes = words(1)
        var reader = XDRReader(bytes.span.bytes)
        let expected = XDRError(.endOfData(needed: count, available: 4), offset: 0)
        #expect(failure { () throws(XDRError) in try reader.skip(count) } == expected)
        #expect(failure { () throws(XDRError) in _ = try reader.fixedOpaque(count) } == expected)
    }

    @Test func textIsUTF8() {
        let bytes = words(2) + [0xC3, 0x28, 0, 0]
        var reader = XDRReader(bytes.span.bytes)
        #expect(
            failure { () throws(XDRError) in _ = try reader.string(max: 2) } == XDRError(.invalidText, offset: 0))
        #expect(reader.offset == 0)
    }

    @Test func paddingMayHoldAnything() throws {
        let bytes = words(1) + [7, 0xFF, 0xFF, 0xFF] + words(3)
        var reader = XDRReader(bytes.span.bytes)
        #expect(try reader.opaque(max: 1).array == [7])
        #expect(try reader.uint32() == 3)
    }

    @Test func everyErrorSaysWhereAndWhat() {
        let descriptions = [
            "\(XDRError(.endOfData(needed: 8, available: 3), offset: 40))",
            "\(XDRError(.tooLong(length: 65, maximum: 64), offset: 0))",
            "\(XDRError(.invalidValue(2), offset: 4))",
            "\(XDRError(.invalidText, offset: 12))",
        ]
        #expect(
            descriptions == [
                "at byte 40: 8 bytes expected, 3 left", "at byte 0: length 65, at most 64 expected",
                "at byte 4: unexpected value 2", "at byte 12: not UTF-8 text",
            ])
    }
}
