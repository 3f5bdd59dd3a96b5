"""What verbs make of tenants, in the model: one that is refused has changed nothing."""

from __future__ import annotations

from copy import deepcopy

from tests.lifecycle.model.lives import Archive, Life, Model, Refused, Run

# -- verbs of one tenant -----------------------------------------------------------


def register(model: Model, name: str, shard: str, *, sealed: bool) -> None:
    """Register a tenant at run time."""
    if model.taken(name):
        archived = name in model.lives and model.lives[name].state == "archived"
        raise Refused("tenant_archived" if archived else "tenant_exists")
    model.lives[name] = Life(model.number(), shard=shard, sealed=sealed)


def declare(model: Model, name: str) -> None:
    """Have a file declare it, without anything more."""
    if name not in model.lives and model.taken(name):
        raise Refused("config_invalid")
    life = model.lives.setdefault(name, Life(model.number()))
    life.source, life.aliases, life.sealed = "file", set(), False
    if life.state == "registered":
        life.shard = "control"
    model.in_files.add(name)


def undeclare(model: Model, name: str) -> None:
    """Have no file declare it: it keeps what it has, and is not served."""
    model.in_files.discard(name)


def use(model: Model, name: str) -> None:
    """Do what changes nothing that is to be seen but that it has tables."""
    model.used(name)


def look(model: Model, name: str) -> None:
    """Do what changes nothing."""
    model.usable(name)


def start(model: Model, name: str, workflow: str, label: str) -> None:
    """Start a run."""
    life = model.used(name, enabled=True)
    life.content.runs[label] = Run(workflow, sealed=life.sealed)


def signal(model: Model, name: str, label: str, word: str) -> None:
    """Have a run hear a word."""
    model.usable(name, enabled=True).content.runs[label].heard = word


def set_secret(model: Model, name: str, value: str) -> None:
    """Store a secret."""
    model.used(name).content.secrets["token"] = value


def delete_secret(model: Model, name: str) -> None:
    """Delete it."""
    if model.used(name).content.secrets.pop("token", None) is None:
        raise Refused("secret_not_found")


def mint(model: Model, name: str) -> None:
    """Make a token."""
    model.usable(name).tokens += 1


def set_disabled(model: Model, name: str, *, disabled: bool) -> None:
    """Let it take no work, or again."""
    model.usable(name).disabled = disabled


def set_pause(model: Model, name: str, *, paused: bool) -> None:
    """Let it start nothing, or again."""
    model.used(name, enabled=True).content.paused = paused


# -- verbs that end or change a whole one --------------------------------------------


def rename(model: Model, name: str, to: str, *, alias: bool, force: bool) -> None:
    """Give it another id."""
    life, old = model.usable(name, served=False), model.id_of(name)
    if old == to:
        return
    if life.kept is not None:
        raise Refused("tenant_copy_kept")
    if old in model.in_files:
        raise Refused("tenant_declared_in_file")
    if model.taken(to) and to not in life.aliases:
        archived = to in model.lives and model.lives[to].state == "archived"
        raise Refused("tenant_archived" if archived else "tenant_exists")
    _refuse_unfinished(life, force=force)
    del model.lives[old]
    life.source = "api"
    life.aliases = (life.aliases | ({old} if alias else set())) - {to}
    model.lives[to] = life


def delete(model: Model, name: str, *, force: bool, keep: bool = False) -> None:
    """Drop it."""
    id = model.id_of(name)
    if id in model.in_files:
        raise Refused("tenant_declared_in_file")
    if id not in model.lives:
        raise Refused("tenant_not_found")
    _refuse_unfinished(model.lives[id], force=force)
    if keep and model.lives[id].state == "archived":
        model.left.add(id)
    model.former.setdefault(id, set()).add(model.lives.pop(id).number)


def erase(model: Model, name: str, *, force: bool) -> None:
    """Drop it with its keys; where nobody is, all former ones may have left some."""
    id = model.id_of(name)
    erased = model.former.get(id, set())
    if id in model.lives or id not in model.keyed:
        erased = {model.lives[id].number} if id in model.lives else set()
        delete(model, name, force=force)
    for archive in model.archives:
        if archive.life.number in erased and not archive.erased:
            archive.erased = True
            archive.life.content.erase()


def archive(model: Model, name: str, *, force: bool) -> None:
    """Make it a file."""
    life = model.usable(name, served=False)
    if life.state != "provisioned":
        raise Refused("request_invalid")
    _refuse_unfinished(life, force=force)
    life.state, life.kept = "archived", None


def unarchive(model: Model, name: str, to: str | None) -> None:
    """Make it a tenant again."""
    life = model.found(name, served=False)
    if life.state != "archived":
        raise Refused("tenant_exists")
    if any(model.taken(each) for each in life.aliases):
        raise Refused("tenant_exists")
    life.state, life.shard = "provisioned", to or life.shard


# -- copies --------------------------------------------------------------------------


def backup(model: Model, name: str) -> None:
    """Write an archive."""
    life = model.used(name)
    id = model.id_of(name)
    model.archives.append(Archive(id, deepcopy(life)))


def restore(model: Model, number: int, name: str, to: str | None) -> None:
    """Make a tenant of an archive."""
    archive = model.archives[number]
    runs = "all" if archive.of == model.id_of(name) else "finished"
    _refuse_taken(model, name)
    if runs == "all" and archive.erased and archive.life.content.stuck:
        raise Refused("key_erased")
    _make(model, name, archive.life, runs, to)


def clone(model: Model, name: str, into: str, runs: str, to: str | None) -> None:
    """Make another tenant like this one."""
    life = model.usable(name)
    _refuse_taken(model, into)
    if model.id_of(name) == model.id_of(into):
        raise Refused("tenant_exists")
    life.state = "provisioned"
    _make(model, into, life, runs, to or life.shard)


def _refuse_taken(model: Model, name: str) -> None:
    known = model.lives.get(model.id_of(name))
    if known is not None and (name not in model.lives or known.state == "provisioned"):
        raise Refused("tenant_exists")


def _make(model: Model, name: str, source: Life, runs: str, to: str | None) -> None:
    _refuse_taken(model, name)
    life = model.lives.get(name)
    if life is None:
        life = Life(model.number(), sealed=source.sealed, shard=source.shard)
    life.state, life.shard = "provisioned", to or life.shard
    life.content = source.content.copy(runs)
    model.lives[name] = life


# -- moves -----------------------------------------------------------------------------


def move(model: Model, name: str, to: str, *, force: bool) -> None:
    """Have it live elsewhere."""
    life = model.usable(name)
    if life.shard == to:
        return
    if life.kept is not None:
        raise Refused("tenant_copy_kept")
    _refuse_unfinished(life, force=force)
    if life.state == "provisioned":
        life.kept = (life.shard, deepcopy(life.content))
    life.shard = to


def confirm(model: Model, name: str) -> None:
    """Drop the copy that is kept."""
    model.usable(name).kept = None


def back(model: Model, name: str, *, force: bool) -> None:
    """Return to it."""
    life = model.usable(name)
    if life.kept is None:
        raise Refused("tenant_no_copy_kept")
    _refuse_unfinished(life, force=force)
    shard, content = life.kept
    if content is None or (not force and content != life.content):
        raise Refused("move_failed")
    life.kept = (life.shard, life.content)
    life.shard, life.content = shard, content


def _refuse_unfinished(life: Life, *, force: bool) -> None:
    if life.content.unfinished and life.state != "archived" and not force:
        raise Refused("tenant_in_use")
