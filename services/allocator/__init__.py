"""The gRPC service: from the wire to the ledger and back."""
