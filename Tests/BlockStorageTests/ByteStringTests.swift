import Testing

@testable import BlockStorage

@Suite struct ByteStringTests {
    @Test(arguments: [
        ("plain name", "plain name"), ("größe 日本 😀 ❤️", "größe 日本 😀 ❤️"), (#"back\slash"#, #"back\\slash"#),
        (#"\x41"#, #"\\x41"#), ("\u{1B}[31m", #"\x1B[31m"#), ("a\nb\r\tc\u{7F}", #"a\x0Ab\x0D\x09c\x7F"#),
        ("\r\n", #"\x0D\x0A"#), ("\u{202E}gpj", #"\xE2\x80\xAEgpj"#), ("\u{85}\u{2028}", #"\xC2\x85\xE2\x80\xA8"#),
        ("a\u{200B}\u{FEFF}b", #"a\xE2\x80\x8B\xEF\xBB\xBFb"#), ("\u{3164}", #"\xE3\x85\xA4"#), ("", ""),
    ])
    func whatPeopleSeeIsReadBack(name: String, shown: String) {
        let string = ByteString(name)
        #expect(string.description == shown)
        #expect(ByteString(escaped: shown) == string)
        #expect(string.text == name)
        // What is printable already is left alone: messages are made of parts that were.
        #expect(printable(shown) == shown)
    }

    @Test(
        arguments: [
            ([0x63, 0x61, 0x66, 0xE9], #"caf\xE9"#), ([0xC0, 0xAF], #"\xC0\xAF"#),
            ([0xED, 0xA0, 0x80], #"\xED\xA0\x80"#),
            ([0xF4, 0x90, 0x80, 0x80], #"\xF4\x90\x80\x80"#), ([0xE2, 0x82], #"\xE2\x82"#),
            ([0xE2, 0x82, 0x41], #"\xE2\x82A"#),
            ([0x80, 0xC3, 0xA9], "\\x80é"),
        ] as [([UInt8], String)])
    func bytesThatAreNoTextAreShownAsBytes(bytes: [UInt8], shown: String) {
        #expect(ByteString(bytes).description == shown)
        #expect(ByteString(escaped: shown) == ByteString(bytes))
        #expect(ByteString(bytes).text == nil)
    }

    @Test func twoNamesNeverLookAlike() {
        var generator = SystemRandomNumberGenerator()
        let pieces: [[UInt8]] = [
            Array(#"\"#.utf8), Array("x".utf8), Array("4".utf8), Array("1".utf8), [0xE2], [0x82], [0xAC], [0xFF],
            [0x1B],
            Array("é".utf8),
        ]
        for _ in 0..<20_000 {
            let bytes = (0..<8).flatMap { _ in pieces.randomElement(using: &generator) ?? [] }
            let string = ByteString(bytes)
            #expect(ByteString(escaped: string.description) == string)
        }
    }

    @Test(arguments: [#"\"#, #"\x"#, #"\x4"#, #"\xg0"#, #"\x+1"#, #"a\b"#, #"\X41"#])
    func aBackslashThatBeginsNothingIsItself(text: String) {
        #expect(ByteString(escaped: text) == ByteString(text))
    }

    @Test func aLineStaysOne() {
        #expect(printable("disk\r\n.img") == #"disk\x0D\x0A.img"#)
        #expect(printable(#"C:\disk"#) == #"C:\disk"#)
    }
}
