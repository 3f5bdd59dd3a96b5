-- Runs once in every tenant's schema, which is the search path here: the name is not qualified, so each
-- tenant gets a table of its own. A column is null where the file says NA: not recorded.
CREATE TABLE flight (
    year           smallint NOT NULL,
    month          smallint NOT NULL,
    day            smallint NOT NULL,
    sched_dep_time smallint NOT NULL,
    carrier        text NOT NULL,
    flight         integer NOT NULL,
    origin         text NOT NULL,
    dest           text NOT NULL,
    dep_delay      integer,
    arr_delay      integer,
    tailnum        text,
    distance       integer,
    -- A planned departure is one flight. The key is what makes loading a month again change nothing, and it
    -- starts with the month, which is how reports look for flights.
    PRIMARY KEY (year, month, day, sched_dep_time, carrier, flight, origin, dest)
);
