import Console

/// A duration in seconds.
func formatted(_ duration: Duration) -> String {
    "\(decimal(seconds(duration), places: 3)) s"
}

/// A duration in seconds.
func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}
