import CLinux
import Glibc

extension Datastore {
    /// FSSTAT (RFC 1813 section 3.3.18): how full the file system of an object is.
    public func fileSystemStatus(
        _ handle: FileHandle, as credentials: Credentials
    ) throws(DatastoreError) -> FileSystemStatus {
        let file = try open(handle, flags: linux_o_path)
        let status = try Self.status(of: file)
        let unit = UInt64(status.f_frsize)
        return FileSystemStatus(
            totalBytes: UInt64(status.f_blocks).multipliedClamping(by: unit),
            freeBytes: UInt64(status.f_bfree).multipliedClamping(by: unit),
            availableBytes: UInt64(status.f_bavail).multipliedClamping(by: unit),
            totalFiles: UInt64(status.f_files), freeFiles: UInt64(status.f_ffree),
            availableFiles: UInt64(status.f_favail), attributes: file.openedAttributes)
    }

    /// FSINFO (RFC 1813 section 3.3.19): what the file system of an object can do.
    public func fileSystemInformation(
        _ handle: FileHandle, as credentials: Credentials
    ) throws(DatastoreError) -> FileSystemInformation {
        let file = try open(handle, flags: linux_o_path)
        return FileSystemInformation(
            maximumFileSize: file.root.limits.maximumFileSize, timeGranularity: file.root.limits.timeGranularity,
            supportsHardLinks: true, supportsSymbolicLinks: true, attributes: file.openedAttributes)
    }

    /// PATHCONF (RFC 1813 section 3.3.20): which names and links are possible at an object.
    public func pathConfiguration(
        _ handle: FileHandle, as credentials: Credentials
    ) throws(DatastoreError) -> PathConfiguration {
        let file = try open(handle, flags: linux_o_path)
        let links = fpathconf(file.root.descriptor, Int32(_PC_LINK_MAX))
        return PathConfiguration(
            maximumLinks: UInt32(clamping: links > 0 ? links : Int(Int32.max)),
            maximumNameLength: UInt32(clamping: try Self.status(of: file).f_namemax),
            attributes: file.openedAttributes)
    }

    private static func status(of file: OwnedDescriptor) throws(DatastoreError) -> statvfs {
        var status = statvfs()
        guard fstatvfs(file.rawValue, &status) == 0 else { throw DatastoreError.lastSystemError("file system status") }
        return status
    }
}

extension UInt64 {
    fileprivate func multipliedClamping(by factor: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? .max : product
    }
}
