"""Steps of a chain, one module a kind: `make(config, chain, state)` leaves its outputs and returns facts."""
