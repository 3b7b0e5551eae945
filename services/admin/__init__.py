"""Administration: migrate, load the catalogue, verify, the embedded servers."""
