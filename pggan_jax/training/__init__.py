"""From losses to a run that can be stopped and continued."""
