import Glibc

/// Reads text that is UTF-8, or in an encoding with a name.
struct TextDecoder {
    /// As `iconv_open` knows it; nil for none but UTF-8.
    let encoding: String?

    /// The text in `bytes`: as UTF-8 where they are, otherwise in the encoding; what is in neither is replaced.
    func text(_ bytes: ArraySlice<UInt8>) -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        return converted(Array(bytes)) ?? String(decoding: bytes, as: UTF8.self)
    }

    private func converted(_ bytes: [UInt8]) -> String? {
        // Names of encodings have these characters; a slash would choose what else `iconv` does.
        guard let encoding, encoding.utf8.count < 40,
            encoding.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "-_:.".contains($0)) })
        else { return nil }
        let converter = iconv_open("UTF-8", encoding)
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
