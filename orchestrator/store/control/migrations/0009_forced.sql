-- Whether a deletion that was begun takes unfinished runs along: whoever finishes it has to know.
ALTER TABLE insula.tenant ADD COLUMN forced boolean NOT NULL DEFAULT false;
