import BlockStorage
import DiskImages
import Foundation
import TestTools

/// A directory with the extent files of 1 MiB that descriptors may name.
private let directory: String = {
    do {
        let path = try makeDirectoryOfThisProcess()
        for name in ["disk-flat.vmdk", "disk-f001.vmdk", "disk-f002.vmdk"] {
            try makeSparseFile("\(path)/\(name)", size: 1 << 20)
        }
        return path
    } catch {
        fatalError("\(error)")
    }
}()

/// Identifies the input as an image, and reads from the disk that it describes.
func fuzzVMDK(_ input: UnsafeRawBufferPointer) {
    let descriptor = "\(directory)/disk.vmdk"
    guard FileManager.default.createFile(atPath: descriptor, contents: Data(input)) else { fatalError(descriptor) }
    guard let image = try? DiskImage.identify(path: descriptor) else { return }
    var end = 0
    for extent in image.extents {
        precondition(extent.diskOffset == end && extent.length > 0, "extents leave a gap")
        end = extent.diskRange.end
        if case .file(let index, let offset) = extent.source {
            precondition(image.files.indices.contains(index) && offset >= 0)
            precondition(image.diskOffset(file: index, offset: offset) == extent.diskOffset, "the map back differs")
        }
    }
    precondition(end == image.size)
    guard let disk = try? VirtualDisk.open(image, access: .readOnly, mode: .buffered) else { return }
    for offset in [0, image.size / 2, image.size - 4096] where offset >= 0 && offset + 4096 <= image.size {
        _ = try? disk.read(ByteRange(offset: offset, length: 4096))
    }
}
