-- One row for each attempt that ended well. An attempt that ran twice would not fit.
CREATE TABLE tally (
    run uuid NOT NULL,
    task text NOT NULL,
    attempt int NOT NULL,
    PRIMARY KEY (run, task, attempt)
);
