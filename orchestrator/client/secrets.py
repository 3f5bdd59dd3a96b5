"""The secrets of a tenant, for both clients."""

from __future__ import annotations

from orchestrator.client import calls
from orchestrator.client.sending import Send, SendNow
from orchestrator.model.secrets import Credentials, RotatedKey, SecretView


class TenantSecrets:
    """What is done to a tenant's secrets; `TenantClient.secret` is one. Only tasks read values."""

    def __init__(self, send: Send, tenant: str) -> None:
        self._send = send
        self._tenant = tenant

    async def set(self, name: str, value: str) -> SecretView:
        """Store a secret, in place of the one of that name.

        >>> await tenant.secret.set("api_key", value)  # doctest: +SKIP
        """
        return await self._send(calls.put_secret(self._tenant, name, value))

    async def list(self) -> list[SecretView]:
        """Return the secrets by name, without their values.

        >>> [each.name for each in await tenant.secret.list()]  # doctest: +SKIP
        ['api_key']
        """
        return (await self._send(calls.list_secrets(self._tenant))).secrets

    async def delete(self, name: str) -> None:
        """Delete a secret; SecretNotFound.

        >>> await tenant.secret.delete("api_key")  # doctest: +SKIP
        """
        await self._send(calls.delete_secret(self._tenant, name))

    async def rotate_key(self) -> RotatedKey:
        """Seal the secrets with a new key.

        >>> (await tenant.secret.rotate_key()).secrets  # doctest: +SKIP
        1
        """
        return await self._send(calls.rotate_key(self._tenant))

    async def credentials(self) -> Credentials:
        """Return the login of the tenant's tasks; over the control socket alone.

        >>> (await tenant.secret.credentials()).schema  # doctest: +SKIP
        'tenant_acme_corp'
        """
        return await self._send(calls.credentials(self._tenant))


class SyncTenantSecrets:
    """What is done to a tenant's secrets; `SyncTenantClient.secret` is one."""

    def __init__(self, send: SendNow, tenant: str) -> None:
        self._send = send
        self._tenant = tenant

    def set(self, name: str, value: str) -> SecretView:
        """Store a secret, in place of the one of that name.

        >>> tenant.secret.set("api_key", value)  # doctest: +SKIP
        """
        return self._send(calls.put_secret(self._tenant, name, value))

    def list(self) -> list[SecretView]:
        """Return the secrets by name, without their values.

        >>> [each.name for each in tenant.secret.list()]  # doctest: +SKIP
        ['api_key']
        """
        return self._send(calls.list_secrets(self._tenant)).secrets

    def delete(self, name: str) -> None:
        """Delete a secret; SecretNotFound.

        >>> tenant.secret.delete("api_key")  # doctest: +SKIP
        """
        self._send(calls.delete_secret(self._tenant, name))

    def rotate_key(self) -> RotatedKey:
        """Seal the secrets with a new key.

        >>> tenant.secret.rotate_key().secrets  # doctest: +SKIP
        1
        """
        return self._send(calls.rotate_key(self._tenant))

    def credentials(self) -> Credentials:
        """Return the login of the tenant's tasks; over the control socket alone.

        >>> tenant.secret.credentials().schema  # doctest: +SKIP
        'tenant_acme_corp'
        """
        return self._send(calls.credentials(self._tenant))
