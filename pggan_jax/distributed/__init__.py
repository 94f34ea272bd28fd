"""Devices, processes and how a batch is divided among them."""
