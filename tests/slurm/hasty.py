"""Snakemake that looks at its cluster jobs every second.

After each look at which no job has ended the executor plugin waits ten seconds longer than before, up to three minutes:
right on a cluster, but where jobs last seconds these waits would be most of a test.
"""

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def _one_second(self: RemoteExecutor) -> None:
    await asyncio.sleep(1)


if __name__ == "__main__":
    RemoteExecutor.sleep = _one_second
    main()
