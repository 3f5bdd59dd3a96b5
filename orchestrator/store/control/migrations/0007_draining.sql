-- A node that drains lives, but takes no tenant: the others do not leave any to it.
ALTER TABLE insula.node ADD COLUMN draining boolean NOT NULL DEFAULT false;
