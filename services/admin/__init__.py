"""Administration: migrate, load the catalogue, the clock, the embedded servers, the demonstration."""
