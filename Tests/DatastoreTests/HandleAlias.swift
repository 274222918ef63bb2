import Datastore

/// The datastore's `FileHandle` for files that import Foundation, which has another.
typealias HandleAlias = FileHandle
