"""From the messages of the contract to the client's own types."""
