"""The door: absl flags and commands. Everything a user types arrives here."""
