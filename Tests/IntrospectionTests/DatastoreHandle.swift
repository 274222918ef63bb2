import Datastore

/// Datastore's handle of a file, by a name that Foundation does not have too.
typealias DatastoreHandle = FileHandle
