"""The tokens of a tenant, or of the whole installation, for both clients."""

from __future__ import annotations

from orchestrator.client import calls
from orchestrator.client.sending import Send, SendNow
from orchestrator.model.tokens import MintedToken, Role, TokenView


class AdminTokens:
    """The tokens that are for the whole installation; `Client.tokens` is one."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def create(self, *, name: str = "", expires: str | None = None) -> MintedToken:
        """Make a token that may do everything, for a time such as "30d" or until it is revoked.

        >>> (await client.tokens.create(name="deployment")).token  # doctest: +SKIP
        'insula_5f0c…'
        """
        return await self._send(calls.create_admin_token(name, expires))

    async def list(self) -> list[TokenView]:
        """Return the tokens, newest first, those that are void too.

        >>> [each.name for each in await client.tokens.list()]  # doctest: +SKIP
        ['deployment']
        """
        return (await self._send(calls.list_tokens(None))).tokens

    async def revoke(self, id: str) -> TokenView:
        """Make a token void at once; TokenNotFound.

        >>> (await client.tokens.revoke("5f0c3a9be1d24a77")).revoked_at  # doctest: +SKIP
        datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.timezone.utc)
        """
        return await self._send(calls.revoke_token(None, id))


class TenantTokens:
    """The tokens of a tenant; `TenantClient.tokens` is one."""

    def __init__(self, send: Send, tenant: str) -> None:
        self._send = send
        self._tenant = tenant

    async def create(
        self, role: Role | str = Role.READ, *, name: str = "", expires: str | None = None
    ) -> MintedToken:
        """Make a token for a time such as "30d", or until it is revoked.

        >>> (await tenant.tokens.create("write", expires="30d")).token  # doctest: +SKIP
        'insula_5f0c…'
        """
        return await self._send(calls.create_token(self._tenant, role, name, expires))

    async def list(self) -> list[TokenView]:
        """Return the tokens, newest first, those that are void too.

        >>> [each.role for each in await tenant.tokens.list()]  # doctest: +SKIP
        [<Role.WRITE: 'write'>]
        """
        return (await self._send(calls.list_tokens(self._tenant))).tokens

    async def revoke(self, id: str) -> TokenView:
        """Make a token void at once; TokenNotFound.

        >>> await tenant.tokens.revoke("5f0c3a9be1d24a77")  # doctest: +SKIP
        """
        return await self._send(calls.revoke_token(self._tenant, id))


class SyncAdminTokens:
    """The tokens that are for the whole installation; `SyncClient.tokens` is one."""

    def __init__(self, send: SendNow) -> None:
        self._send = send

    def create(self, *, name: str = "", expires: str | None = None) -> MintedToken:
        """Make a token that may do everything, for a time such as "30d" or until it is revoked.

        >>> client.tokens.create(name="deployment").token  # doctest: +SKIP
        'insula_5f0c…'
        """
        return self._send(calls.create_admin_token(name, expires))

    def list(self) -> list[TokenView]:
        """Return the tokens, newest first, those that are void too.

        >>> [each.name for each in client.tokens.list()]  # doctest: +SKIP
        ['deployment']
        """
        return self._send(calls.list_tokens(None)).tokens

    def revoke(self, id: str) -> TokenView:
        """Make a token void at once; TokenNotFound.

        >>> client.tokens.revoke("5f0c3a9be1d24a77")  # doctest: +SKIP
        """
        return self._send(calls.revoke_token(None, id))


class SyncTenantTokens:
    """The tokens of a tenant; `SyncTenantClient.tokens` is one."""

    def __init__(self, send: SendNow, tenant: str) -> None:
        self._send = send
        self._tenant = tenant

    def create(
        self, role: Role | str = Role.READ, *, name: str = "", expires: str | None = None
    ) -> MintedToken:
        """Make a token for a time such as "30d", or until it is revoked.

        >>> tenant.tokens.create("write", expires="30d").token  # doctest: +SKIP
        'insula_5f0c…'
        """
        return self._send(calls.create_token(self._tenant, role, name, expires))

    def list(self) -> list[TokenView]:
        """Return the tokens, newest first, those that are void too.

        >>> [each.role for each in tenant.tokens.list()]  # doctest: +SKIP
        [<Role.WRITE: 'write'>]
        """
        return self._send(calls.list_tokens(self._tenant)).tokens

    def revoke(self, id: str) -> TokenView:
        """Make a token void at once; TokenNotFound.

        >>> tenant.tokens.revoke("5f0c3a9be1d24a77")  # doctest: +SKIP
        """
        return self._send(calls.revoke_token(self._tenant, id))
