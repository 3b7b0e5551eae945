"""`make bench`: how fast Earmark is, held against an empty call, the disk and the usual way, all in one run."""
