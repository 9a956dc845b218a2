"""A seeded soak of real processes: bots trade while everything around them breaks; then it is counted."""
