import Synchronization

/// Makes the calls that the input names, one after the other, of the real server; each must be answered.
func fuzzNFSCall(_ input: UnsafeRawBufferPointer) {
    var rest = input[...]
    caller.withLock { caller in
        caller.beginInput()
        while let call = Call(parsing: &rest) {
            caller.make(call)
        }
    }
}

/// The one connection to the server.
private let caller = Mutex(NFSCaller(server: NFSServer()))

/// A call as the input describes it: a byte for the procedure, one that chooses handle and name, because no fuzzer
/// would guess a handle, one for the number of bytes that follow, and those.
struct Call {
    /// 0 to 23: two more than there are.
    let procedure: UInt32
    /// Which of the known handles comes first; none when it is not the number of one.
    let handle: Int
    /// Which of the usual names comes next; none when it is not the number of one.
    let name: Int
    /// The rest of the arguments.
    let bytes: Slice<UnsafeRawBufferPointer>

    init?(parsing input: inout Slice<UnsafeRawBufferPointer>) {
        guard let procedure = input.popFirst(), let choice = input.popFirst(), let count = input.popFirst() else {
            return nil
        }
        self.procedure = UInt32(procedure % 24)
        handle = Int(choice & 7)
        name = Int(choice >> 3)
        bytes = input.prefix(Int(count))
        input = input.dropFirst(Int(count))
    }
}
