"""Everything that Insula promises of runs and tenants has a test that is marked as its proof.

A test that would fail if a promise were broken says so:

    @pytest.mark.requirement("R4.backoff")
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from orchestrator.settings.model import Limits

TESTS = Path(__file__).parents[1]

REQUIREMENTS = {
    "R1": {
        "rules": "a trigger rule decides by how the upstream tasks ended",
        "condition": "a predicate on the context decides as well",
        "skip": "a skip goes on by the rule of each task",
        "cycle": "a cycle is an error at definition time",
        "unknown": "so is a name that is not there",
        "duplicate": "so is a name that is there twice",
        "place": "the error of a definition names file and task",
        "merge": "a task sees the input and what its ancestors set, in topological order",
        "input": "an input is decoded and checked at submit, every error with its path",
    },
    "R2": {
        "parallel": "independent tasks execute at the same time",
        "thread": "a sync task runs in a worker thread",
        "process": "or in a worker process, which can be killed",
    },
    "R3": {
        "durable": "a finished task is durable before any dependent starts",
        "recovery": "after a crash only unfinished tasks run again",
    },
    "R4": {
        "attempts": "a task is tried so often and no oftener",
        "backoff": "fixed, linear and exponential, with jitter and cap",
        "exceptions": "only the named exceptions are retried",
        "restart": "a backoff survives a restart and frees its slot",
        "options": "an unknown option is an error",
    },
    "R5": {
        "attempt": "an attempt ends at its timeout",
        "process": "in a worker process it is killed",
        "thread": "in a thread it is left behind, and can write nothing any more",
        "task": "all attempts together end in time",
        "run": "a run ends in time",
        "clock": "what is durable is measured by the database's clock",
        "blocking": "a coroutine that blocks the loop is named",
    },
    "R6": {
        "step": "a step that was done is not done again",
        "sleep": "a sleep survives restarts",
        "signal": "a signal is taken once, or its wait times out",
        "child": "a child is started once and can be waited for",
        "close": "children end with their parent unless abandoned",
        "map": "items are each called once, a bounded number at a time",
        "rest": "a run that waits holds no slot, and no memory beyond a bound",
        "divergence": "code that does not fit its journal parks the run",
    },
    "R7": {
        "once": "effect and completion are one commit",
        "fence": "a former owner commits neither",
        "key": "ctx.idempotency_key is the same in every attempt",
    },
    "R8": {
        "many": "many runs are started in one call, all or none",
        "priority": "the more urgent run goes first, and no run waits for ever",
        "delay": "a run starts after a delay, or at a time",
        "key": "the same key returns the same run",
        "deadline": "a run has a deadline",
        "queue": "a run has a queue and tags",
        "http": "runs are started over HTTP",
        "python": "and from Python",
        "sql": "and from SQL in the application's transaction",
        "wake": "which wakes a tenant that sleeps",
    },
    "R9": {
        "cancel": "a cancel stops what runs",
        "cascade": "and reaches the children",
        "guard": "a cancelled run never comes back to life",
        "race": "of a cancel and a completion one wins",
        "pause": "a run is paused and resumed",
        "pause-workflow": "so is a workflow",
        "pause-tenant": "so is a tenant",
        "retry": "a failed run goes on from the failed task",
        "rerun": "a run is repeated as a whole",
        "fork": "or from a task on",
    },
    "R10": {
        "cron": "cron keeps its rule when the clocks change",
        "interval": "an interval counts from its anchor",
        "one-off": "one moment fires once",
        "jitter": "jitter moves the run, not the name of the fire",
        "overlap": "a run longer than the interval is treated as the policy says",
        "catch-up": "what was missed is caught up as the policy says, bounded",
        "once": "no fire is lost or doubled",
        "wake": "a tenant that sleeps wakes for its schedule",
    },
    "R11": {
        "keeps": "a run keeps the DAG that it began with",
        "blocked": "a run whose version is not here is blocked, with the reason",
        "resumed": "and goes on where its version is",
    },
    "R12": {
        "exhausted": "a run that failed for good is a dead letter",
        "crashes": "so is one whose task was under way at three crashes",
        "culprit": "suspects run one at a time, so that only the culprit dies",
        "bulk": "dead letters are replayed and discarded in bulk",
        "tenant": "a poison run does not take its tenant down",
        "daemon": "nor a poison tenant the daemon",
    },
    "R13": {
        "order": "a run's events are numbered without a gap",
        "owner": "with epoch and node",
        "live": "they can be followed live",
        "resume": "and from any number on",
    },
    "R14": {
        "read": "results, context, attempts, errors and times are read without the worker",
        "bounded": "errors and tracebacks are bounded",
        "dropped": "a result over its limit is not stored, and says so",
    },
    "R15": {
        "tenant": "a task reads settings, features and limits as ctx.tenant",
    },
    "R16": {
        "memory": "a workflow runs in memory, by a clock that is moved by hand",
        "replay": "recorded histories are replayed against new code",
    },
    "T1": {
        "reasons": "an id that can not be one is refused with all reasons at once",
        "names": "schema and roles of any id fit PostgreSQL's names",
        "alias": "an alias resolves to one id, however it is written",
        "shared": "no two tenants share one",
    },
    "T2": {
        "files": "a file goes before what was registered",
        "both": "a conflict names both tenants",
        "tier": "a tier's defaults are inherited and overridden",
    },
    "T3": {
        "first": "a tenant is made at its first use",
        "again": "made again it stays as it is",
        "race": "of many who make it at once it is made once",
        "resumed": "an end at any statement leaves nothing half-done",
        "others": "what is not ours is not taken",
    },
    "T4": {
        "once": "each file is applied once to each tenant",
        "checksum": "a changed file is an error",
        "failure": "a failure names its place, and quarantines that tenant alone",
        "canary": "nobody else is touched when the canary fails",
        "dry-run": "a dry run leaves nothing",
        "lock": "a lock is not waited for long",
        "session": "a file leaves nothing to the next tenant's",
        "drift": "what was changed by hand is named",
    },
    "T5": {
        "login": "supervisors and tasks log in as their tenant",
        "tenants": "no login reaches what another tenant has",
        "server": "nor the server",
        "database": "nor with a database for each tenant",
        "engine": "tasks have no right on the engine's tables",
        "bounds": "logins have limits of connections and time",
        "named": "a call without a tenant is an error",
    },
    "T6": {
        "killed": "each verb is done or undone after a kill",
        "everywhere": "and does the same wherever the tenant lives",
        "busy": "unfinished runs keep a tenant unless it is forced",
        "disabled": "a disabled tenant takes no work, however it comes",
        "restored": "a restored tenant has all that was backed up",
        "archives": "a changed, newer or foreign archive is refused",
        "exported": "an export is read by others and imported",
        "renamed": "a renamed tenant has everything under its new id",
        "moved": "a moved tenant works at its new place",
        "deleted": "the catalogs have nothing of a deleted tenant, or it is told",
        "adopted": "an adopted schema's tables are found by tasks",
        "maintained": "dead rows go, and broken indexes are told",
        "rotated": "only the new passwords open, and sessions go on",
    },
    "T7": {
        "archived": "who is not used for long is archived, and comes back when used",
    },
    "T8": {
        "secret": "a secret is read by its tenant and stands nowhere",
        "payloads": "no payload of a tenant that seals them stands in a table",
        "bound": "what is sealed opens only where it belongs",
        "rotated": "a rotation seals with a new key",
        "erased": "with the key all that it sealed is gone",
        "hidden": "a secret is hidden in the log",
    },
    "T9": {
        "figures": "runs, times, sizes and rows of a tenant are told",
        "cached": "the list of all tenants is read from what is kept",
        "usage": "what a tenant uses is counted exactly, and survives the tenant",
        "alerts": "a limit that is nearly used up is told once in a window",
        "export": "usage can be exported for bills",
    },
    "T10": {
        "appended": "nothing of the audit is changed, not even by a superuser",
        "every": "every verb is in it",
        "before": "what can not be noted is not done",
        "who": "with who did it, as the kernel says",
        "outcome": "and what came of it",
        "outlives": "it outlives the tenant",
    },
    "T11": {
        "sources": "subdomain, header, path and claim name a tenant",
        "conflict": "conflicting answers are refused",
        "unknown": "an unknown tenant is not found",
        "disabled": "a disabled one is refused",
        "frameworks": "ASGI, FastAPI and Django are served",
    },
    "T12": {
        "apart": "keys of two tenants never meet",
        "paths": "nor those of two namespaces",
        "expiry": "a value is there until its time is over",
        "atomic": "of many who count or swap none is lost",
        "bounded": "what was written longest ago makes room",
    },
    "T13": {
        "login": "application code asks as the tenant, and nothing of a block is left",
        "apart": "another tenant is out of its reach",
        "whole": "a transaction commits at its end or not at all",
    },
    "quota": dict.fromkeys(Limits.__struct_fields__, "a limit of the tenant"),
}
CLAUSES = {f"{id}.{name}" for id, clauses in REQUIREMENTS.items() for name in clauses}


def proofs() -> Iterator[tuple[str, str]]:
    """Yield each clause that a test is marked with, and the test."""
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if "mark.requirement(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for clause in marked(node):
                    yield clause, f"{path.relative_to(TESTS)}::{node.name}"


def marked(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield what a test is marked to prove."""
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.requirement":
            yield from (ast.literal_eval(argument) for argument in mark.args)


def test_every_promise_has_a_test() -> None:
    assert sorted(CLAUSES - {clause for clause, _ in proofs()}) == []


def test_a_mark_names_a_promise() -> None:
    assert [(clause, test) for clause, test in proofs() if clause not in CLAUSES] == []


def test_a_mark_stands_on_a_test() -> None:
    assert [test for _, test in proofs() if "::test_" not in test] == []
