-- Who finds a tenant paused at night has to be told why.
ALTER TABLE tenant.wf_pause ADD COLUMN reason text NOT NULL DEFAULT '';
