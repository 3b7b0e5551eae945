"""`earmark-admin testbed`: an Earmark for the tests of other services, in any language."""
