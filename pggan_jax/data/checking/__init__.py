"""Reading a collection once to report what is wrong with it."""
