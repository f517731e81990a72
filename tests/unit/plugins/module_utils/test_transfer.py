# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import threading
from collections import namedtuple
from typing import Any, ClassVar

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import transfer
from ansible_collections.private_llm.platform.plugins.module_utils.transfer import Fetcher, Partial, Source, TransferFailed

CONTENT = bytes(range(256)) * 5000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Delivers CONTENT; ``faults`` says what goes wrong with the requests, one after another."""

    faults: ClassVar[list[str]] = []
    seen: ClassVar[list[dict[str, str]]] = []
    content: ClassVar[bytes] = CONTENT
    etag: ClassVar[str] = '"one"'

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers))
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        start, status = 0, 200
        asked = self.headers.get("Range", "")
        if asked and fault != "ignores range" and self.headers.get("If-Range", self.etag) == self.etag:
            start, status = int(asked[len("bytes=") : -1]), 206
        if start >= len(self.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.content)}")
            self.end_headers()
            return
        body = self.content[start:]
        self.send_response(status)
        self.send_header("ETag", self.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server():
    Handler.faults, Handler.seen, Handler.content, Handler.etag = [], [], CONTENT, '"one"'
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.server_address[1]}/model.gguf"
    listener.shutdown()
    listener.server_close()
    thread.join()


def fetch(url, path, checksum=CHECKSUM, attempts=5, headers=None):
    return Fetcher(Source(url, headers or {}, timeout=5), checksum, attempts, sleep=lambda _seconds: None).fetch(str(path))


def test_a_file_arrives_whole(server, tmp_path):
    result = fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert (result.size, result.resumed_from, result.attempts) == (len(CONTENT), 0, 1)


def test_a_transfer_that_was_cut_goes_on_where_it_ended(server, tmp_path):
    Handler.faults = ["cut"]
    result = fetch(server, tmp_path / "part")
    assert result.resumed_from == len(CONTENT) // 2
    assert result.received == len(CONTENT) - len(CONTENT) // 2
    assert Handler.seen[1]["Range"] == f"bytes={len(CONTENT) // 2}-"


def test_the_next_run_goes_on_with_what_an_earlier_one_kept(server, tmp_path):
    Handler.faults = ["cut"]
    with pytest.raises(TransferFailed, match="the next run goes on from there"):
        fetch(server, tmp_path / "part", attempts=1)
    assert fetch(server, tmp_path / "part").resumed_from == len(CONTENT) // 2


def test_a_server_that_cannot_resume_is_asked_for_the_whole_file(server, tmp_path):
    Handler.faults = ["cut", "ignores range"]
    result = fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert result.resumed_from == 0


def test_a_file_that_changed_on_the_server_is_begun_again(server, tmp_path):
    Handler.content, Handler.faults = b"another file" * 10000, ["cut"]
    with pytest.raises(TransferFailed):
        fetch(server, tmp_path / "part", attempts=1)
    Handler.content, Handler.etag = CONTENT, '"two"'
    assert fetch(server, tmp_path / "part").resumed_from == 0


def test_a_kept_part_of_something_else_leads_to_one_fresh_start(server, tmp_path):
    (tmp_path / "part").write_bytes(b"rubbish")
    Partial(str(tmp_path / "part")).remember(CHECKSUM, server, '"one"')
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_part_of_a_file_with_another_checksum_is_not_continued(server, tmp_path):
    (tmp_path / "part").write_bytes(CONTENT[:100])
    Partial(str(tmp_path / "part")).remember("0" * 64, server, '"one"')
    fetch(server, tmp_path / "part")
    assert "Range" not in Handler.seen[0]


def test_a_part_that_is_complete_already_is_not_fetched_again(server, tmp_path):
    (tmp_path / "part").write_bytes(CONTENT)
    Partial(str(tmp_path / "part")).remember(CHECKSUM, server, '"one"')
    assert fetch(server, tmp_path / "part").received == 0


def test_a_part_longer_than_the_file_is_begun_again(server, tmp_path):
    (tmp_path / "part").write_bytes(CONTENT + b"more")
    Partial(str(tmp_path / "part")).remember(CHECKSUM, server, '"one"')
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_server_that_does_not_tell_the_length_is_believed_by_checksum(server, tmp_path):
    Handler.faults = ["no length"]
    assert fetch(server, tmp_path / "part").size == len(CONTENT)


def test_a_wrong_checksum_is_one_sentence_and_leaves_nothing(server, tmp_path):
    with pytest.raises(TransferFailed, match=rf"checksum {CHECKSUM}, but {'0' * 64} is expected"):
        fetch(server, tmp_path / "part", checksum="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_is_the_same_sentence_after_a_cut(server, tmp_path):
    Handler.faults = ["cut"]
    with pytest.raises(TransferFailed, match=rf"checksum {CHECKSUM}, but {'0' * 64} is expected"):
        fetch(server, tmp_path / "part", checksum="0" * 64, attempts=2)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_part_of_something_else_costs_no_attempt(server, tmp_path):
    (tmp_path / "part").write_bytes(b"rubbish")
    Partial(str(tmp_path / "part")).remember(CHECKSUM, server, '"one"')
    fetch(server, tmp_path / "part", attempts=1)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_missing_file_is_not_asked_for_twice(server, tmp_path):
    Handler.faults = ["404"]
    with pytest.raises(TransferFailed, match="answered 404: there is no such file"):
        fetch(server, tmp_path / "part")
    assert len(Handler.seen) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_overloaded_server_is_asked_again(server, tmp_path):
    Handler.faults = ["503", "429"]
    assert fetch(server, tmp_path / "part").attempts == 3


def test_giving_up_says_why(server, tmp_path):
    Handler.faults = ["503"] * 3
    with pytest.raises(TransferFailed, match=r"in 3 attempts: the server answered 503 .*\. Nothing was changed"):
        fetch(server, tmp_path / "part", attempts=3)


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TransferFailed, match=r"http://127\.0\.0\.1:9/x could not be fetched in 2 attempts: no connection"):
        fetch("http://127.0.0.1:9/x", tmp_path / "part", attempts=2)


def test_a_file_that_does_not_fit_is_refused_before_it_is_received(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 10))
    with pytest.raises(TransferFailed, match=r"has 10 bytes free, and http.*/model\.gguf needs .*: free .* more"):
        fetch(server, tmp_path / "part")
    assert list(tmp_path.iterdir()) == []


def test_space_that_others_need_is_left_to_them(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, len(CONTENT) + 99))
    with pytest.raises(TransferFailed, match=r"with 100 bytes left for others: free 1 bytes more"):
        Fetcher(Source(server, {}), CHECKSUM, keep_free=100).fetch(str(tmp_path / "part"))
    assert Fetcher(Source(server, {}), CHECKSUM, keep_free=99).fetch(str(tmp_path / "part")).size == len(CONTENT)


def test_space_is_counted_where_the_directory_will_be(tmp_path):
    transfer.expect_space(str(tmp_path / "not" / "yet"), 1, 0, "x")
    with pytest.raises(TransferFailed, match="Nothing was changed"):
        transfer.expect_space(str(tmp_path / "not" / "yet"), 2**60, 0, "x")


def test_a_local_file_is_copied(tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    assert fetch((tmp_path / "source").as_uri(), tmp_path / "part").size == len(CONTENT)


def test_a_local_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(TransferFailed, match=r"/nowhere/model\.gguf cannot be read on this host"):
        fetch("file:///nowhere/model.gguf", tmp_path / "part")


def test_an_address_of_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(TransferFailed, match="gopher://host/file"):
        fetch("gopher://host/file", tmp_path / "part", attempts=1)


def test_headers_reach_the_server_and_no_message(server, tmp_path):
    Handler.faults = ["403"]
    with pytest.raises(TransferFailed) as failure:
        fetch(server, tmp_path / "part", headers={"Authorization": "Bearer s3cret"})
    assert Handler.seen[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(failure.value)


def test_secrets_in_an_address_are_not_shown():
    assert transfer.shown("https://user:word@host:8443/a/b?token=s3cret#x") == "https://host:8443/a/b"


def test_an_unfinished_file_is_nobody_elses_to_read(server, tmp_path):
    Handler.faults = ["cut"]
    with pytest.raises(TransferFailed):
        fetch(server, tmp_path / "part", attempts=1)
    assert os.stat(tmp_path / "part").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "sha256:abc", "md5:" + "0" * 64, "g" * 64, "0" * 63])
def test_what_is_no_checksum_is_refused(text):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        transfer.parse_checksum(text)


def test_sizes_are_readable():
    assert [transfer.size_text(n) for n in (5, 2048, 18550716416)] == ["5 bytes", "2.0 KiB", "17.3 GiB"]
