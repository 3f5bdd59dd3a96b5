"""Reading a month of flights: what is right comes through, what is wrong is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from examples.flights.flight_file import BadFile, Flight, columns, parse_flight, read_chunks

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,"
    "flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
LEFT = "2013,2,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-02-01T10:00:00Z"
CANCELLED = "2013,2,2,NA,1630,NA,NA,1815,NA,UA,4308,NA,EWR,RDU,NA,416,16,30,2013-02-02T21:00:00Z"
OTHERS = "2013,2,1,542,540,2,923,850,33,AA,1141,N619AA,JFK,MIA,160,1089,5,40,2013-02-01T10:00:00Z"

ROW = dict(zip(HEADER.split(","), LEFT.split(","), strict=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flights.csv.gz"


def write(path: Path, *lines: str) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def flights(path: Path, carrier: str = "UA", size: int = 2_000) -> list[Flight]:
    return [flight for chunk in read_chunks(path, carrier, size=size) for flight in chunk.flights]


def problem(path: Path, carrier: str = "UA") -> str:
    with pytest.raises(BadFile) as caught:
        flights(path, carrier)
    return str(caught.value)


def test_only_the_flights_of_the_carrier_come_through(path: Path) -> None:
    write(path, HEADER, LEFT, OTHERS, CANCELLED)

    assert [flight.flight for flight in flights(path)] == [1545, 4308]


def test_what_was_not_recorded_is_none(path: Path) -> None:
    write(path, HEADER, CANCELLED)

    assert flights(path) == [
        Flight(2013, 2, 2, 1630, "UA", 4308, "EWR", "RDU", None, None, None, 416)
    ]


def test_the_months_are_those_of_the_whole_file_also_for_an_airline_without_flights(
    path: Path,
) -> None:
    write(path, HEADER, LEFT, OTHERS)

    [chunk] = read_chunks(path, "HA")

    assert chunk.months == {(2013, 2)}
    assert chunk.flights == []


def test_a_file_comes_in_pieces_and_nothing_is_lost_between_them(path: Path) -> None:
    write(path, HEADER, *[LEFT.replace("1545", str(number)) for number in range(7)])

    sizes = [len(chunk.flights) for chunk in read_chunks(path, "UA", size=3)]

    assert sizes == [3, 3, 1]
    assert [flight.flight for flight in flights(path, size=3)] == list(range(7))


def test_columns_are_found_by_name_whatever_their_order(path: Path) -> None:
    names = HEADER.split(",")
    write(path, ",".join(reversed(names)), ",".join(ROW[name] for name in reversed(names)))

    assert flights(path) == [parse_flight(ROW)]


def test_blank_lines_and_a_byte_order_mark_do_not_matter(path: Path) -> None:
    write(path, "\N{ZERO WIDTH NO-BREAK SPACE}" + HEADER, LEFT, "", CANCELLED, "")

    assert len(flights(path)) == 2


def test_columns_of_no_flights_are_empty_lists() -> None:
    assert columns([]) == [[] for _ in Flight._fields]
    assert columns([parse_flight(ROW)])[0] == [2013]


def test_a_missing_file_is_named(path: Path) -> None:
    assert problem(path) == f"{path}: there is no such file where the daemon runs"


def test_a_file_below_a_file_is_missing(path: Path) -> None:
    write(path, HEADER, LEFT)

    assert (
        problem(path / "x.csv.gz")
        == f"{path}/x.csv.gz: there is no such file where the daemon runs"
    )


def test_a_relative_path_is_shown_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert (
        problem(Path("x.csv.gz"))
        == f"{tmp_path}/x.csv.gz: there is no such file where the daemon runs"
    )


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert problem(tmp_path) == f"{tmp_path}: not a regular file"


def test_missing_columns_are_all_named(path: Path) -> None:
    write(path, HEADER.replace("dep_delay,", "delay,", 1).replace(",origin", ",from"), LEFT)

    assert problem(path) == f"{path}: wrong columns, origin, dep_delay missing"


def test_a_column_that_is_there_twice_is_named(path: Path) -> None:
    write(path, HEADER + ",origin", LEFT + ",EWR")

    assert problem(path) == f"{path}: wrong columns, origin there twice"


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_truncated_file_is_called_truncated(path: Path, share: float) -> None:
    write(path, HEADER, *[LEFT.replace("1545", str(number * 7919 % 9973)) for number in range(500)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])

    assert problem(path) == f"{path}: truncated, the gzip data stop before their end; copy it again"


def test_a_plain_text_file_is_not_gzip(path: Path) -> None:
    path.write_text(f"{HEADER}\n{LEFT}\n")

    assert problem(path).startswith(f"{path}: not a sound gzip file")


def test_damaged_data_are_noticed(path: Path) -> None:
    write(path, HEADER, LEFT, CANCELLED)
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 0xFF  # in the checksum
    path.write_bytes(damaged)

    assert problem(path).startswith(f"{path}: not a sound gzip file")


def test_an_empty_file_is_called_empty(path: Path) -> None:
    path.write_bytes(b"")

    assert problem(path) == f"{path}: empty, its first line should name the columns"


@pytest.mark.parametrize("lines", [[HEADER], [HEADER, "", ""]])
def test_a_header_alone_is_not_a_month(path: Path, lines: list[str]) -> None:
    write(path, *lines)

    assert problem(path) == f"{path}: a header and no flights"


def test_text_that_is_not_utf_8_is_refused(path: Path) -> None:
    path.write_bytes(gzip.compress(HEADER.encode() + b"\n\xff\xfe\n"))

    assert problem(path) == f"{path}: not text in UTF-8"


def test_a_line_without_end_does_not_fill_the_memory(path: Path) -> None:
    path.write_bytes(gzip.compress(b"0" * 5_000_000))

    assert problem(path) == f"{path}: a line of 10000 characters or more"


def test_a_row_with_too_few_values_is_named_by_its_line(path: Path) -> None:
    write(path, HEADER, LEFT, "2013,2,1")

    assert problem(path) == f"{path}: line 3: 3 values, the header names 19 columns"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (",2,830", ",two,830", "dep_delay 'two' is not a whole number"),
        (",2,830", ",,830", "dep_delay '' is not a whole number"),
        (",2,830", ",2.5,830", "dep_delay '2.5' is not a whole number"),
        (",2,830", ",1_000,830", "dep_delay '1_000' is not a whole number"),
        (",2,830", ",99999999999,830", "dep_delay '99999999999' is not a whole number"),
        ("2013,2,", "2013,13,", "month 13 is not between 1 and 12"),
        ("2013,2,", "NA,2,", "year 'NA' is not a whole number"),
        ("UA,1545", "UA,-1", "flight -1 is not between 0 and 999999999"),
        (",EWR,", ",,", "origin '' is not a code of 1 to 20 characters"),
        (",EWR,", ",E\0R,", r"origin 'E\x00R' is not a code of 1 to 20 characters"),
    ],
)
def test_a_value_that_can_not_be_is_named_by_line_and_column(
    path: Path, before: str, after: str, sentence: str
) -> None:
    write(path, HEADER, LEFT, LEFT.replace(before, after, 1))

    assert problem(path) == f"{path}: line 3: {sentence}"
