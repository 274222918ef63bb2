import FuzzTargets

/// Runs one input of libFuzzer.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    FuzzTarget.redirectLog.run(UnsafeRawBufferPointer(start: start, count: count))
    return 0
}
