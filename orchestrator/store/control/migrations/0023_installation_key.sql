-- The name of the installation's key that is in force, which tells it from others and nothing about it. A node that
-- has another one would lock tenants out behind the others' back, and seal what they can not open. Null until the first
-- node starts.
ALTER TABLE insula.installation ADD COLUMN key text;
