import Console
import Testing

@Suite struct FormattingTests {
    @Test(arguments: [
        ("0", 0), ("4096", 4096), ("0x1F", 31), ("0X10", 16), ("4k", 4096), ("3M", 3 << 20), ("2G", 2 << 30),
        ("1T", 1 << 40),
    ])
    func offsets(text: String, bytes: Int) {
        #expect(ByteSize(argument: text)?.bytes == bytes)
    }

    @Test(arguments: ["", "K", "-1", "0x", "0xG", "1.5M", "9999999999T", "12Q", "99999999999999999999"])
    func offsetsThatMakeNoSense(text: String) {
        #expect(ByteSize(argument: text) == nil)
    }

    @Test(arguments: [(0, "0"), (1, "1"), (1024, "1K"), (1536, "1536"), (512 << 20, "512M"), (3 << 40, "3T")])
    func sizes(bytes: Int, text: String) {
        #expect(ByteSize(bytes: bytes).description == text)
        #expect(ByteSize(argument: text)?.bytes == bytes)
    }

    @Test func numbers() {
        #expect(formatted(bytes: 1023) == "1023 bytes")
        #expect(formatted(bytes: 1536) == "1.5 KiB")
        #expect(formatted(bytes: .max) == "8.0 EiB")
        #expect(decimal(0.0449, places: 2) == "0.04")
        #expect(decimal(-0.001, places: 2) == "0.00")
        #expect(decimal(12.005, places: 0) == "12")
        #expect(decimal(9.999, places: 2) == "10.00")
        #expect(table([["a", "1"], ["long", "22"]]) == "a      1\nlong  22")
        #expect(table([["name"], ["a\n\u{1B}[2Jb"]]) == "name\na\\x0A\\x1B[2Jb")
        let rows = [["name", ""], ["a", "b"], ["-", "-3"]]
        #expect(table(rows, indentation: "  ") == "  name\n  a     b\n  -     -3")
    }
}
