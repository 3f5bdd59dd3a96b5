"""What the tenants of the model run."""

from __future__ import annotations

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job


@job("tell")
async def tell(ctx: Context, label: str) -> str:
    """Return what it was given."""
    return label


@job("fail")
async def fail(ctx: Context, label: str) -> None:
    """Fail for good."""
    raise RuntimeError(label)


@job("listen")
async def listen(ctx: Context, label: str) -> str:
    """Return what somebody signals."""
    heard: str = await ctx.wait_signal("word")
    return heard


@job("reveal")
async def reveal(ctx: Context, label: str) -> str:
    """Return a secret, which is short enough to be told."""
    return (await ctx.secret(label)).reveal()


ALL: list[Workflow] = [tell, fail, listen, reveal]
