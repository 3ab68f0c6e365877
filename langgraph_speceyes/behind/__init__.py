"""The agent behind the bypass, whatever it is."""
