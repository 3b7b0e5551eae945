"""The SDK as a service uses it: many callers share a client, and each waits for its own answer."""

import asyncio
from time import monotonic

import earmark
from bench.jobs import Answers, Callers
from bench.load import Tally, Word
from bench.requests import OFFERING


async def call_sdk(job: Callers, word: Word) -> Answers:
    async with earmark.Client(
        job.address, coalesce=job.coalesce, timeout_seconds=job.timeout_seconds, retry=None
    ) as client:
        await client.get_organization(job.organization)
        await word()
        begin = monotonic() + job.warm_up_seconds
        tally = Tally(begin, begin + job.seconds)
        async with asyncio.TaskGroup() as group:
            for caller in range(job.in_flight):
                group.create_task(_calls(client, job, caller, tally, begin + job.seconds))
    return tally.answers(job.seconds)


async def _calls(client: earmark.Client, job: Callers, caller: int, tally: Tally, end: float) -> None:
    """Another allocation each time. At least one call is measured, however long it takes."""
    number = 0
    while (sent := monotonic()) < end or not (tally.latencies_ms or tally.first_error):
        number += 1
        allocation = f"{job.salt}-{caller}-{number}"
        try:
            await client.enable(job.organization, offering=OFFERING, units=1, allocation=allocation)
        except earmark.EarmarkError as error:
            tally.failed(error.code.name, error.message)
        else:
            tally.ok(sent, "")
