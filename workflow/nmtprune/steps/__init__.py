"""Steps of a chain, a module for each kind: `make(config, chain, state)` leaves outputs and returns facts."""
