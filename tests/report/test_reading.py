"""CSV files that people made: each is read, or says in one line what is wrong with it."""

from __future__ import annotations

import csv

import pytest

from samplerbench import UserError
from samplerbench.report.results import read_results

PLAIN = "sampler,nfe,fid\nddim,5,20.5\ndpm-solver,10,11\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", ";").replace("20.5", "20,5").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", " , ").encode(),
        (PLAIN + "\n\n,,\n").encode(),
        PLAIN.strip().encode(),
        PLAIN.replace("\n", ",,\n").encode(),
        ("sampler,nfe,fid\nddim,5,20.5\n" + PLAIN.replace("ddim,5,20.5\n", "")).encode(),
        "sampler,nfe,fid\nddim,5,20.5\n\ufefffid,sampler,nfe\n11,dpm-solver,10\n".encode(),
        b",sampler,nfe,fid\n0,ddim,5,20.5\n1,dpm-solver,10,11\n",
        b'"sampler","nfe","fid"\n"ddim","5","20.5"\n"dpm-solver","10","11"\n',
        b"sampler,nfe,fid,status\nddim,5,20.5,\ndpm-solver,10,11,done\n",
    ],
    ids=str,
)
def test_what_is_read(tmp_path, data):
    path = tmp_path / "mine.csv"
    path.write_bytes(data)
    rows = read_results(path).rows
    assert rows[["sampler", "nfe", "fid"]].to_numpy().tolist() == [["ddim", 5, 20.5], ["dpm-solver", 10, 11]]


def test_numbers_are_read_to_their_last_bit(tmp_path):
    values = [(k + 0.1) / 7 * 10.0 ** (k % 9 - 4) for k in range(1, 500)]
    path = tmp_path / "mine.csv"
    path.write_text("sampler,nfe,fid\n" + "".join(f"ddim,{k},{value!r}\n" for k, value in enumerate(values, 1)))
    assert read_results(path).rows["fid"].tolist() == values


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; expected a CSV file with the columns sampler, nfe and a metric"),
        (b"\n \n", "is empty"),
        (b"sampler,evaluations,fid\nddim,2,3\n", "lacks the column nfe; it has sampler, evaluations, fid"),
        (b"sampler,nfe\nddim,2\n", "lacks the column fid; it has sampler, nfe"),
        (b"sampler,nfe,fid\nddim,2,low\n", "line 2: fid is a number, got 'low'"),
        (b"sampler,nfe,fid\nddim,2,1.234,5\n", "line 2: it has 4 values, its header 3 columns"),
        (b"sampler;nfe;fid\nddim;2;1.234,5\n", "line 2: fid is a number, got '1.234,5'"),
        (b"sampler,nfe,fid\nddim,2\nddim,3,4\n", "line 2: it has 2 values, its header 3 columns"),
        (b"sampler,nfe,fid,fid\nddim,2,3,4\n", "line 1: there are several columns named fid"),
        (b"sampler,nfe,fid\nd\xe9im,2,3\n", "is not a CSV file in UTF-8: line 2 has the byte 0xe9"),
        (b"\xff\xfes\0a\0", "is not a CSV file in UTF-8: line 1 has the byte 0xff"),
        (b"sampler,nfe,fid\nddim,2,\0\n", "is not a CSV file: it has zero bytes"),
        (b"\x1f\x8b\x08", "is not a CSV file in UTF-8"),
        (b'sampler,nfe,fid\n"ddim,2,3\n', "line 2: not CSV: unexpected end of data"),
        (b"sampler,nfe,fid\n,2,3\n", "line 2: sampler is a sampler's name, got nothing"),
        (b"sampler,nfe,fid\nddim,,3\n", "line 2: nfe is a number above 0, got nothing"),
        (b"sampler,nfe,fid\nddim,-2,3\n", "line 2: nfe is a number above 0, got '-2.0'"),
        (b"sampler,nfe,fid\nddim,inf,3\n", "line 2: nfe is a number above 0, got 'inf'"),
        (b"sampler,nfe,fid,samples\nddim,2,3,1.5\n", "samples is a whole number from 1 up, got '1.5'"),
        (
            b"sampler,nfe,fid,reference_count,schema\nddim,2,3,4,1\nddim,2,3,4.5,1\n",
            "line 3: reference_count is a whole number from 1 up, got '4.5'",
        ),
        (b"sampler,nfe,fid,schema\nddim,2,-3,1\n", "line 2: fid is a number from 0 up, got '-3.0'"),
        (b"sampler,nfe,fid,fid_n\nddim,2,3,-3\n", "fid_n is a whole number from 1 up, got '-3.0'"),
        (b"sampler,nfe,fid,fid_se\nddim,2,3,-1\n", "fid_se is a number from 0 up, or empty, got '-1.0'"),
        (b"sampler,nfe,fid,fid_se\nddim,2,3,inf\n", "fid_se is a number from 0 up, or empty, got 'inf'"),
        (b"sampler,nfe,fid,status\nddim,2,3,don\n", "line 2: unknown status 'don'; did you mean 'done'"),
        (b'sampler,nfe,fid,note\nddim,2,3,"two\nlines"\nddim,2,x,\n', "line 4: fid is a number, got 'x'"),
    ],
    ids=str,
)
def test_what_is_refused(tmp_path, data, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_results(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="no results at"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no results at"):
        read_results(tmp_path)
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(UserError, match="no results at"):
        read_results(tmp_path)


def test_a_last_line_that_a_kill_cut_off_is_left_out_and_said(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(PLAIN + "ddim,1")
    results = read_results(path)
    assert len(results.rows) == 2
    assert results.notes == (f"{path}: the last line was cut off and is left out",)


def test_infinite_and_missing_values_are_not_measured(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("sampler,nfe,fid\na,2,inf\nb,2,nan\nc,2,\nd,2,1e400\ne,2,1e49\n")
    results = read_results(path)
    assert results.rows["sampler"].tolist() == ["e"]
    assert len(results.every) == 5
    assert results.notes == (f"{path}: fid is infinite in 2 rows, not counted as measured",)


def test_names_steer_no_terminal(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('sampler,nfe,fid\n"a\x1b[31mb\nc",2,3\n')
    assert read_results(path).rows["sampler"].tolist() == ["a\\x1b[31mb\\nc"]


def test_seeds_of_64_bits_are_told_apart(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(f"sampler,nfe,fid,seed\na,2,3,{2**63}\na,2,3,{2**63 + 1}\na,2,3,7.0\n")
    assert read_results(path).rows["seed"].tolist() == [str(2**63), str(2**63 + 1), "7"]


@pytest.mark.parametrize("text", ["sampler,nfe,fid\n", "sampler,nfe,fid,status\nddim,2,,failed\n"])
def test_nothing_to_compare_exits_with_1(command, tmp_path, text):
    path = tmp_path / "empty.csv"
    path.write_text(text)
    code, out, _ = command("compare", path, path)
    assert code == 1
    assert f"{path} has no row" in out
    assert command("compare", path, "--baseline", "ddim")[0] == 1


def test_a_table_without_rows_exits_with_1(command, tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("sampler,nfe,fid\n")
    code, out, _ = command("table", tmp_path)
    assert code == 1
    assert out == f"{tmp_path} has no rows\n"


@pytest.mark.parametrize("markdown", [[], ["--markdown"]])
def test_markup_is_printed_as_it_stands(command, tmp_path, markdown):
    path = tmp_path / "[bold]mine[x].csv"
    path.write_text("sampler,nfe,fid,model\n[/x],2,3,[red]m\n[bold]b,2,4,[red]m\n")
    for arguments in (["table", path], ["compare", path, "--baseline", "[/x]"], ["compare", path, path]):
        code, out, _ = command(*arguments, *markdown)
        assert not code
        assert "[bold]b" in out
        assert "[/x]" in out


def test_many_rows(command, tmp_path):
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["sampler", "spacing", "budget", "nfe", "fid", "fid_se", "samples", "seed", "key"])
        for i in range(5_000):
            writer.writerow([f"mine:a={i // 8}", "uniform", i % 8 + 1, i % 8 + 1, 20 + i % 97 / 10, 1.5, 1024, 0, i])
    code, out, _ = command("compare", path, path)
    assert not code
    assert out.count("same") > 5_000
