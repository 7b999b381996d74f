"""HTTP: routes, wire shapes, the error-to-status table, settings, and the carrier of the peer channel."""
