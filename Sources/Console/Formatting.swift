/// A number of bytes in the largest unit that it fills.
public func formatted(bytes: Int) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    let unit = units.indices.last { bytes >> (10 * $0) > 0 } ?? 0
    return unit == 0
        ? "\(bytes) bytes" : "\(decimal(Double(bytes) / Double(1 << (10 * unit)), places: 1)) \(units[unit])"
}

/// A number with a fixed number of decimal places, which must be few.
public func decimal(_ value: Double, places: Int = 2) -> String {
    let scale = (0..<places).reduce(1) { scale, _ in scale * 10 }
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    let scaled = Int((abs(value) * Double(scale)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard places > 0 else { return "\(sign)\(scaled)" }
    let fraction = "\(scaled % scale)"
    return "\(sign)\(scaled / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
}
