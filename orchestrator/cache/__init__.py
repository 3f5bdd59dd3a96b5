"""The cache of a tenant: JSON values by key, in one of several stores."""
