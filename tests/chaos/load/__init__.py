"""The clients of a campaign: `python -m tests.chaos.load '<JSON of a Plan>'`, a process of its own.

It writes JSON lines: `{"ready": true}` when it has prepared everything, then one with its counts each second. A line
`drain` on its input, or the end of it, lets the calls under way end and the watchers catch up; the last line has
`behind`, the number of watchers that did not. What everybody saw lies in the plan's folder (tests/chaos/history.py).
"""
