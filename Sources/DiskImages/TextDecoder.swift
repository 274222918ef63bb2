import Glibc

/// Reads text in an encoding with a name.
struct TextDecoder {
    /// As VMware writes it; nil for none but UTF-8.
    let encoding: String?

    /// Encodings that hypervisors write descriptors in, in lower case, by their names for `iconv_open`. It knows hundreds
    /// more, some of which have hung or ended programs; which of them reads a client's bytes is not the client's to say.
    private static let names: [String: String] = {
        var names = [
            "gbk": "GBK", "gb18030": "GB18030", "gb2312": "GBK", "windows-936": "GBK", "windows-936-2000": "GBK",
            "big5": "BIG5", "windows-950": "BIG5", "windows-950-2000": "BIG5", "shift_jis": "SHIFT_JIS",
            "windows-932": "CP932", "windows-31j": "CP932", "euc-jp": "EUC-JP", "euc-kr": "EUC-KR",
            "windows-949": "CP949", "windows-949-2000": "CP949", "windows-874": "CP874", "koi8-r": "KOI8-R",
        ]
        for number in 1250...1258 { names["windows-\(number)"] = "CP\(number)" }
        for number in 1...16 where number != 12 { names["iso-8859-\(number)"] = "ISO-8859-\(number)" }
        return names
    }()

    /// The text in `bytes`, which are in the encoding; nil when they are not, or when there is none but UTF-8.
    func text(_ bytes: [UInt8]) -> String? {
        guard let encoding, let name = Self.names[encoding.lowercased()] else { return nil }
        let converter = iconv_open("UTF-8", name)
        guard converter != iconv_t(bitPattern: -1) else { return nil }
        defer { iconv_close(converter) }
        var input = bytes.map { CChar(bitPattern: $0) }
        var output = [CChar](repeating: 0, count: bytes.count * 4 + 4)
        var (inputLeft, outputLeft) = (input.count, output.count)
        let isWhole = input.withUnsafeMutableBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                var (from, to) = (input.baseAddress, output.baseAddress)
                return iconv(converter, &from, &inputLeft, &to, &outputLeft) != -1 && inputLeft == 0
            }
        }
        guard isWhole else { return nil }
        let text = output.prefix(output.count - outputLeft).map { UInt8(bitPattern: $0) }
        return String(validating: text, as: UTF8.self)
    }
}
