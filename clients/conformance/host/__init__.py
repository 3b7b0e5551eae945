"""The host of the conformance cases: a real Earmark, and a proxy in front of it that misbehaves on cue.

clients/conformance/README.md says how a runner in any language uses it.
"""
