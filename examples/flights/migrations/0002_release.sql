-- What an airline has published: the figures of a month, and who approved them.
CREATE TABLE release (
    month          text PRIMARY KEY,
    flights        integer NOT NULL,
    cancelled      integer NOT NULL,
    mean_dep_delay double precision,
    approved_by    text NOT NULL
);
