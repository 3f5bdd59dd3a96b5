-- The alerts of windows that are not over, of all tenants: as few of the table as there are.
CREATE INDEX alert_by_window ON insula.alert (since);
