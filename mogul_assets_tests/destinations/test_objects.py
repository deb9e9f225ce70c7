"""What is common to all places of files: formats, the path template, the manifest's turn, sweeping, and faults."""

from __future__ import annotations

import gzip
import json
import os
import re
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations import load_type, objects
from mogul_assets.destinations.base import Outcome
from mogul_assets.destinations.files import FilesDestination
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets.store.table import new_generation
from mogul_assets_tests.destinations.object_places import PREFIX
from mogul_assets_tests.destinations.place import delivered
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.destinations.test_contract import EVERY_KIND, dated, movements, on, words
from mogul_assets_tests.peers import servers
from mogul_assets_tests.peers.faults import Cut, FaultProxy

STORES = {place.word: place for place in PLACES if place.word in ("s3", "gcs", "azure_blob")}


@pytest.fixture(params=[pytest.param(place, marks=pytest.mark.peer) for place in STORES.values()], ids=str)
def store(request):
    """A place in an object store, on its peer."""
    return request.param.on(request.getfixturevalue("peer")(request.param.peer))


@pytest.fixture
def shelf(tmp_path):
    return lambda **options: FilesDestination(name="shelf", path=str(tmp_path / "shelf"), **options)


def data_files(shelf, dataset="plans"):
    return [path.read_bytes() for path in delivered(shelf, dataset)]


@pytest.fixture
def kinds(table):
    rows = [
        {
            "id": 1,
            "text": 'say "hi",\r\nü',
            "number": 2**63 - 1,
            "share": float("-inf"),
            "flag": True,
            "moment": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
            "day": date(2026, 1, 2),
            "free": '{"a": 1.10,\n "b": []}',
        },
        {"id": 2, "text": ""},
        {"id": 3},
    ]
    return table(rows, schema=EVERY_KIND)


def test_csv_is_that_of_rfc_4180_with_iso_times_and_null_unlike_empty(shelf, kinds):
    csv = shelf(format="csv", compression="none")
    csv.deliver(kinds)
    (content,) = data_files(csv)
    assert content == (
        b'"id","text","number","share","flag","moment","day","free"\r\n'
        b'1,"say ""hi"",\r\n\xc3\xbc",9223372036854775807,-inf,true,"2026-01-02T03:04:05.000678Z",2026-01-02,'
        b'"{""a"": 1.10,\n ""b"": []}"\r\n'
        b'2,"",,,,,,\r\n'
        b"3,,,,,,,\r\n"
    )


def test_json_lines_hold_every_column_and_json_as_it_is(shelf, kinds):
    lines = shelf(format="jsonl", compression="gzip")
    lines.deliver(kinds)
    (content,) = data_files(lines)
    nothing = '"number":null,"share":null,"flag":null,"moment":null,"day":null,"free":null}'
    first = (
        '{"id":1,"text":"say \\"hi\\",\\r\\nü","number":9223372036854775807,"share":"-Infinity","flag":true,'
        '"moment":"2026-01-02T03:04:05.000678Z","day":"2026-01-02","free":{"a": 1.10,  "b": []}}'
    )
    assert gzip.decompress(content).decode().split("\n") == [
        first,
        '{"id":2,"text":"",' + nothing,
        '{"id":3,"text":null,' + nothing,
        "",
    ]


def test_text_that_should_be_json_and_is_none_is_a_string(shelf, table):
    lines = shelf(format="jsonl", compression="none")
    lines.deliver(table([{"id": 1, "free": "no {json"}], schema=EVERY_KIND.empty_table().select(["id", "free"]).schema))
    assert json.loads(data_files(lines)[0]) == {"id": 1, "free": "no {json"}


@pytest.mark.parametrize(("compression", "codec"), [("gzip", "GZIP"), ("none", "UNCOMPRESSED"), ("zstd", "ZSTD")])
def test_parquet_is_compressed_as_asked_for(shelf, table, compression, codec):
    parquet = shelf(compression=compression)
    parquet.deliver(table([{"id": 1}]))
    (file,) = delivered(parquet)
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == codec


@pytest.mark.parametrize("written", ["parquet", "csv", "jsonl"])
def test_large_files_are_split_at_a_size(shelf, table, written):
    parts = shelf(format=written, file_mb=0.2)
    ids = pa.array(range(200_000), pa.int64())
    large = table(pa.table({"id": ids, "noise": pa.array([f"{number * 7919:x}" for number in range(200_000)])}))
    assert parts.deliver(large).rows == 200_000
    manifest = parts.manifest("plans")
    assert [file.rows for file in manifest.files] == [65_536] * 3 + [3_392]
    assert manifest.rows == 200_000
    assert [re.search(r"-(\d{4})-[0-9a-f]{12}\.", file.file)[1] for file in manifest.files] == [
        "0000",
        "0001",
        "0002",
        "0003",
    ]
    assert parts.deliver(large).rows == 200_000
    assert parts.manifest("plans").files == manifest.files


WRONG = {
    "{dataset}.{ext}": r"overwrite another's files: it lacks \{generation\} and \{part\}",
    "{dataset}/{date}/{part}.{ext}": r"overwrite another's files: it lacks \{generation\}",
    "{dataset}/{time}/{part}.{ext}": r"overwrite another's files: it lacks \{generation\}",
    "{generation}/{part}": r"overwrite another's files: it lacks \{dataset\}",
    "{dataset}/{generation}/{partition}.{ext}": r"overwrite another's files: it lacks \{part\}",
    "{dataset}/{generation}/{month}-{part}.{ext}": "placeholder that there is not",
    "{dataset}/{generation:>9}/{part}.{ext}": "placeholder that there is not",
    "{dataset}/{generation}/{part": "brace that is not closed",
    "/{dataset}/{generation}/{part}": "no path below",
    "../{dataset}/{generation}/{part}": "no path below",
    "_deliveries/{dataset}/{generation}/{part}": "no path below",
}


@pytest.mark.parametrize("template", WRONG)
def test_a_template_by_which_files_could_overwrite_each_other_is_refused(shelf, template):
    with pytest.raises(ConfigurationError, match=WRONG[template]):
        shelf(template=template)


def test_the_template_says_where_data_files_lie(shelf, table, tmp_path):
    text = "of {destination}/{date}/{time}/{dataset}/month={partition}/{generation}/{part}.{ext}"
    templated = shelf(template=text, format="csv", compression="zstd")
    months = dated(table, movements(on(2026, 1), on(2026, 2)), Window.months(Month(2026, 1), None))
    templated.deliver(months)
    found = [path.relative_to(tmp_path / "shelf").as_posix() for path in delivered(templated)]
    day, generation = rf"of shelf/{datetime.now(UTC):%Y-%m-%d}/\d{{6}}/plans", months.generation
    for path, month in zip(found, ("2026-01", "2026-02"), strict=True):
        assert re.fullmatch(rf"{day}/month={month}/{re.escape(generation)}/0000-[0-9a-f]{{12}}\.csv\.zst", path)
    assert (tmp_path / "shelf/plans/manifest.json").exists()


def test_files_of_a_template_are_retired_and_removed_with_the_folders_they_leave_empty(shelf, table, tmp_path):
    hasty = shelf(template="{date}/{generation}/{dataset}-{part}.{ext}", grace_seconds=0)
    hasty.deliver(table([{"id": 1}]))
    (first,) = delivered(hasty)
    hasty.deliver(table([{"id": 2}]))
    assert not first.parent.exists()
    assert [leftover.remove for leftover in hasty.forget()] == [
        f"rm -r {tmp_path / 'shelf/plans'}",
        f"rm {tmp_path / 'shelf'}/*/*/plans-*.*",
        f"rm -r {tmp_path / 'shelf/_deliveries'}",
    ]


def test_every_delivery_is_kept_if_asked_for(shelf, table, tmp_path):
    archive = shelf(keep="all", grace_seconds=0)
    deliveries = [archive.deliver(table([{"id": number}])).details["delivery_id"] for number in (1, 2, 3)]
    kept = [json.loads(path.read_bytes()) for path in sorted((tmp_path / "shelf/plans/manifests").iterdir())]
    assert [manifest["delivery_id"] for manifest in kept] == deliveries[:2]
    assert [
        pq.read_table(tmp_path / "shelf" / file["file"])["id"].to_pylist()
        for manifest in kept
        for file in manifest["files"]
    ] == [[1], [2]]


def test_a_part_of_a_dataset_cannot_be_of_another_format(shelf, table):
    shelf().deliver(dated(table, movements(on(2026, 1), on(2026, 2)), Window.months(Month(2026, 1), None)))
    february = dated(table, movements(on(2026, 2, 2)), Window.months(Month(2026, 2), None))
    with pytest.raises(DestinationRefused, match="lies there as parquet; only a part of it would be csv"):
        shelf(format="csv").deliver(february)
    everything = dated(table, movements(on(2026, 1), on(2026, 2)), Window.months(Month(2026, 1), None))
    assert shelf(format="csv").deliver(everything).outcome is Outcome.DELIVERED


def test_a_preview_names_the_objects(store, table, tmp_path):
    shelf = store.destination(tmp_path)
    old, new = table([{"id": 1}]), table([{"id": 2}])
    shelf.deliver(old)
    (retired,) = shelf.manifest("plans").files
    preview = shelf.preview(new)
    name = f"plans/plans-all-{new.generation}-0000-*.parquet"
    root = preview.location.removesuffix("plans/manifest.json")
    assert root.endswith(f"/{PREFIX}/")
    assert preview.statements == (
        f"PUT {root}{name}",
        f"PUT {root}plans/manifest.json",
        f"RETIRE {root}{retired.file}",
    )
    assert shelf.preview(old).statements == (f"PUT {root}plans/manifest.json",)


def test_what_deleting_leaves_is_told_with_the_command(store, table, tmp_path):
    shelf = store.destination(tmp_path)
    shelf.deliver(table([{"id": 1}]))
    datasets, log = shelf.forget()
    assert "plans/" in datasets.what
    assert f"{PREFIX}/plans/" in datasets.remove
    assert f"{PREFIX}/_deliveries/" in log.remove
    assert len(store.everything(tmp_path)) == 3


def test_every_delivery_is_logged_beside_the_data(store, table, tmp_path):
    shelf = store.destination(tmp_path)
    newer, older = table([{"id": 1}], generation=new_generation(on(2026, 2))), table([{"id": 2}])
    older = table([{"id": 2}], generation=new_generation(on(2026, 1)))
    ids = [shelf.deliver(each).details["delivery_id"] for each in (newer, older)]
    with shelf._opened() as bucket:
        entries = [json.loads(bucket.get(listed.key)[0]) for listed in bucket.listing("_deliveries/plans/")]
    entries.sort(key=lambda entry: entry["finished_at"])
    assert [(entry["delivery_id"], entry["outcome"], entry["rows"]) for entry in entries] == [
        (ids[0], "delivered", 1),
        (ids[1], "superseded", 0),
    ]
    assert entries[0].keys() >= {"dataset", "generation", "bytes", "schema_fingerprint", "started_at", "window_start"}


def test_a_swap_goes_by_the_version(store, tmp_path):
    with store.destination(tmp_path)._opened() as bucket:
        assert bucket.get("one") is None
        assert bucket.swap("one", b"1", None)
        assert not bucket.swap("one", b"2", None)
        content, version = bucket.get("one")
        assert content == b"1"
        assert bucket.swap("one", b"2", version)
        assert not bucket.swap("one", b"3", version)
        assert bucket.get("one")[0] == b"2"
        bucket.delete("one")
        bucket.delete("one")
        assert not bucket.swap("one", b"4", version)


@contextmanager
def meanwhile(bucket, work):
    """``work`` is done once, after a delivery has read the manifest and before it writes its own."""
    with pytest.MonkeyPatch.context() as patch:
        upload, left = bucket.upload, [work]

        def slow(self, *args):
            if left:
                left.pop()()
            upload(self, *args)

        patch.setattr(bucket, "upload", slow)
        yield


def bucket_of(shelf):
    with shelf._opened() as bucket:
        return type(bucket)


def test_of_two_deliveries_at_once_the_loser_decides_anew(store, table, tmp_path):
    older, newer = (table([{"id": month}], generation=new_generation(on(2026, month))) for month in (1, 2))
    shelf, other = store.destination(tmp_path), store.destination(tmp_path)
    with meanwhile(bucket_of(shelf), lambda: other.deliver(newer)):
        assert shelf.deliver(older).outcome is Outcome.SUPERSEDED
    assert store.rows(tmp_path) == [{"id": 2}]


def test_two_windows_delivered_at_once_both_count(store, table, tmp_path):
    january, february = (Window.months(Month(2026, month), Month(2026, month)) for month in (1, 2))
    shelf, other = store.destination(tmp_path), store.destination(tmp_path)
    one, two = dated(table, movements(on(2026, 1)), january), dated(table, movements(on(2026, 2)), february)
    with meanwhile(bucket_of(shelf), lambda: other.deliver(two)):
        shelf.deliver(one)
    assert words(store.rows(tmp_path)) == {"20260101": "old", "20260201": "old"}


def test_retired_objects_go_after_the_grace_time_and_no_earlier(store, table, tmp_path):
    patient, hasty = store.destination(tmp_path), store.destination(tmp_path, grace_seconds=0)
    patient.deliver(table([{"id": 1}]))
    (first,) = patient.manifest("plans").files
    patient.deliver(table([{"id": 2}]))
    assert any(first.file in key for key in store.everything(tmp_path))
    hasty.deliver(table([{"id": 3}]))
    assert not any(first.file in key for key in store.everything(tmp_path))
    assert len([key for key in store.everything(tmp_path) if key.endswith(".parquet")]) == 1


def test_what_a_failed_delivery_left_goes_and_what_others_put_there_stays(store, table, tmp_path, monkeypatch):
    shelf = store.destination(tmp_path)
    left = "plans/plans-all-20260101T000000.000000Z-abcd-0000-0123456789ab.parquet"
    with shelf._opened() as bucket:
        bucket.put(left, b"left")
        bucket.put("plans/mine.parquet", b"theirs")
    shelf.deliver(table([{"id": 1}]))
    assert any(left in key for key in store.everything(tmp_path))
    monkeypatch.setattr(objects, "_ABANDONED", timedelta(0))
    shelf.deliver(table([{"id": 2}]))
    assert not any(left in key for key in store.everything(tmp_path))
    assert any("plans/mine.parquet" in key for key in store.everything(tmp_path))


def keys(store, folder):
    return [key for key in store.everything(folder) if key.endswith(".parquet")]


@pytest.mark.parametrize("keep", ["latest", "all"])
def test_a_delivery_that_fails_removes_what_it_sent(store, keep, table, tmp_path, monkeypatch):
    shelf = store.destination(tmp_path, keep=keep)
    shelf.deliver(table([{"id": 1}]))
    before, bucket = keys(store, tmp_path), bucket_of(shelf)

    def refused(*_):
        assert len(keys(store, tmp_path)) == 2
        raise DestinationRefused("the manifest may not be written")

    monkeypatch.setattr(bucket, "swap", refused)
    with pytest.raises(DestinationRefused, match="may not be written"):
        shelf.deliver(table([{"id": 2}]))
    assert keys(store, tmp_path) == before

    def also_refused(*_):
        raise DestinationRefused("nor may anything be removed")

    monkeypatch.setattr(bucket, "delete", also_refused)
    with pytest.raises(DestinationRefused, match="may not be written"):
        shelf.deliver(table([{"id": 2}]))


def test_a_delivery_that_came_too_late_removes_what_it_sent(store, table, tmp_path):
    older, newer = (table([{"id": month}], generation=new_generation(on(2026, month))) for month in (1, 2))
    shelf, other = store.destination(tmp_path), store.destination(tmp_path)
    with meanwhile(bucket_of(shelf), lambda: other.deliver(newer)):
        assert shelf.deliver(older).outcome is Outcome.SUPERSEDED
    assert len(keys(store, tmp_path)) == 1


def test_what_fails_removes_nothing_that_another_delivery_of_the_same_table_sent(store, table, tmp_path, monkeypatch):
    plans = table([{"id": 1}])
    shelf, other = store.destination(tmp_path), store.destination(tmp_path)
    bucket = bucket_of(shelf)
    swap = bucket.swap

    def beaten(self, *args):
        monkeypatch.setattr(bucket, "swap", swap)
        other.deliver(plans)
        raise DestinationRefused("the manifest may not be written")

    monkeypatch.setattr(bucket, "swap", beaten)
    with pytest.raises(DestinationRefused, match="may not be written"):
        shelf.deliver(plans)
    assert store.rows(tmp_path) == [{"id": 1}]
    assert len(keys(store, tmp_path)) == 1


@contextmanager
def faulty(store, folder):
    """The place behind a proxy, with one try a request: the clients' own retries would hide the fault."""
    server = urlsplit(store.address["url"])
    with FaultProxy(server.port) as faults, pytest.MonkeyPatch.context() as patch:
        text = json.dumps(dict(store.address)).replace(f":{server.port}", f":{faults.port}")
        behind = store.on(json.loads(text))
        patch.setattr("mogul_assets.destinations.s3._ATTEMPTS", 1)
        patch.setitem(__import__("mogul_assets.destinations.azure_blob", fromlist=["_"])._TIMES, "retry_total", 0)
        patch.setattr("google.cloud.storage.retry.DEFAULT_RETRY._predicate", lambda _: False)
        yield faults, behind.destination(folder)
        faults.up = faults.down = None
    store.destination(folder)  # the variables of the environment say the server's own port again


STEPS = {
    "reading the manifest": rb"plans/manifest.json",
    "sending data": b"PAR1",
    "writing the manifest": b'"delivery_id": "',
}


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_lost_at_any_step_leaves_the_old_whole(store, step, table, tmp_path):
    store.destination(tmp_path).deliver(table([{"id": 1}]))
    with faulty(store, tmp_path) as (faults, shelf):
        at = STEPS[step] if store.word != "gcs" else STEPS[step].replace(b"plans/manifest", b"plans%2Fmanifest")
        faults.up = Cut(at=at)
        with pytest.raises(DestinationUnavailable, match=r"what lay there stands|the old or the new stands"):
            shelf.deliver(table([{"id": 2}]))
        assert faults.cuts
    assert store.rows(tmp_path) == [{"id": 1}]
    store.destination(tmp_path).deliver(table([{"id": 2}]))
    assert store.rows(tmp_path) == [{"id": 2}]


def test_an_answer_lost_after_the_manifest_was_written_is_asked_for_again(store, table, tmp_path):
    store.destination(tmp_path).deliver(table([{"id": 1}]))
    with faulty(store, tmp_path) as (faults, shelf):
        faults.up = Cut(at=b'"delivery_id": "', passed=True, times=1)
        assert shelf.deliver(table([{"id": 2}])).outcome is Outcome.DELIVERED
        assert faults.cuts == 1
    assert store.rows(tmp_path) == [{"id": 2}]


def test_a_store_out_of_reach_is_told_at_once(store, table, tmp_path, monkeypatch):
    store.destination(tmp_path)
    port = str(urlsplit(store.address["url"]).port)
    away = store.on(json.loads(json.dumps(dict(store.address)).replace(f":{port}", f":{servers.free_port()}")))
    for name, value in away.address["environment"].items():
        monkeypatch.setenv(name, value)
    options = {name: value for name, value in away.options(store._spot(tmp_path)).items() if "url" not in name}
    urls = {name: away.address["url"] for name in ("endpoint_url", "account_url") if name in _fields(store)}
    shelf = load_type(store.word)(name="shelf", **{**options, **urls})
    with pytest.raises(DestinationUnavailable, match=r"out of reach: .*; what lay there stands"):
        shelf.deliver(table([{"id": 1}]))
    assert [permission.name for permission in shelf.check()] == ["reach it"]


def _fields(store):
    return load_type(store.word).model_fields


def test_a_manifest_of_somebody_else_is_left_as_it_is(store, table, tmp_path):
    shelf = store.destination(tmp_path)
    with shelf._opened() as bucket:
        bucket.put("plans/manifest.json", b"{}")
        with pytest.raises(DestinationRefused, match="not a manifest of ours"):
            shelf.deliver(table([{"id": 1}]))
        assert bucket.get("plans/manifest.json")[0] == b"{}"


def test_two_destinations_at_one_place_do_not_share_a_dataset(store, table, tmp_path):
    first, second = store.destination(tmp_path), store.destination(tmp_path, name="second")
    first.deliver(table([{"id": 1}]))
    for verb in (second.preview, second.deliver):
        with pytest.raises(DestinationRefused, match=r"plans/manifest\.json belongs to the destination 'shelf'"):
            verb(table([{"id": 2}]))
    assert store.rows(tmp_path) == [{"id": 1}]
    assert not any("plans" in leftover.remove for leftover in second.forget())
    second.deliver(table([{"id": 3}], dataset="customers"))
    assert store.rows(tmp_path, "customers") == [{"id": 3}]


def test_a_renamed_destination_goes_on_once_the_manifest_has_its_name_or_none(store, table, tmp_path):
    store.destination(tmp_path).deliver(table([{"id": 1}]))
    for written in ("renamed", ""):
        renamed = store.destination(tmp_path, name=written or "again")
        with renamed._opened() as bucket:
            said = json.loads(bucket.get("plans/manifest.json")[0])
            bucket.put("plans/manifest.json", json.dumps(said | {"destination": written}).encode())
        renamed.deliver(table([{"id": 2}]))
        assert renamed.manifest("plans").destination == renamed.name


def test_a_bucket_that_is_not_there_is_told(store, table, tmp_path):
    option = "container" if store.word == "azure_blob" else "bucket"
    shelf = store.destination(tmp_path, **{option: "nobody-has-made-it"})
    with pytest.raises(DestinationRefused, match="answered 404") as refused:
        shelf.deliver(table([{"id": 1}]))
    assert "make the" in refused.value.remedy


def test_a_large_file_is_sent_in_parts(store, table, tmp_path):
    shelf = store.destination(tmp_path)
    noise = pa.array([os.urandom(500_000).hex() for _ in range(80)])
    large = table(pa.table({"id": pa.array(range(80), pa.int64()), "noise": noise}))
    assert large.bytes > 35_000_000
    shelf.deliver(large)
    assert [row["noise"] for row in store.rows(tmp_path)] == noise.to_pylist()


def test_the_example_makes_a_destination_and_its_grants_name_it(store):
    shelf = type(store.destination(Path("/nowhere")))
    made = shelf(name="lake", **shelf.EXAMPLE)
    assert (made.EXAMPLE.get("bucket") or made.EXAMPLE["container"]) in made.grants()
