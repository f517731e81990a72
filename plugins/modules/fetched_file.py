#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fetched_file
short_description: Fetch a large file, verified and resumable
version_added: 0.1.0
author: Private LLM Platform team (@private-llm)
description:
  - Brings a file to the host and puts it in place in one step, only when it is complete and its checksum is right.
  - An interrupted transfer is resumed, within the run and by the next one. A server that cannot resume is asked for the whole file.
  - The file is streamed, so memory use does not grow with its size.
  - A file in place that has the wanted checksum is left alone. Its verified checksum is remembered beside it in C(PATH.sha256), with the
    size and the time of last change, so that a large file is not read again by each run. C(sha256sum -c) understands that file.
options:
  url:
    description:
      - Where the file comes from, an C(https), C(http) or C(file) address. The latter means a file on the managed host.
      - Put a token into O(http_headers) rather than into the address.
    type: str
    required: true
  path:
    description: Where the file goes. Its directory must exist.
    type: path
    required: true
  checksum:
    description: The SHA-256 checksum of the file, 64 hexadecimal digits, with or without V(sha256:) before them.
    type: str
    required: true
  http_headers:
    description: Headers sent with the request, such as C(Authorization). They do not follow a redirect.
    type: dict
    default: {}
  attempts:
    description: How many times the transfer is tried before giving up. What was received is kept.
    type: int
    default: 5
  timeout:
    description: Seconds of silence after which an attempt has failed.
    type: int
    default: 60
  keep_free:
    description: MiB that have to stay free in the file system; a transfer that would take them is refused before it begins.
    type: int
    default: 0
  validate_certs:
    description: Whether the server's certificate is verified.
    type: bool
    default: true
  ca_path:
    description: A file with the certificates of the authorities to trust instead of the host's.
    type: path
extends_documentation_fragment:
  - ansible.builtin.files
attributes:
  check_mode:
    description: Can run in check mode and predicts the changes.
    support: full
  diff_mode:
    description: Shows the checksum before and after.
    support: full
"""

EXAMPLES = r"""
- name: Fetch a model
  private_llm.platform.fetched_file:
    url: https://models.example.com/qwen3-coder-30b-a3b-q4_k_m.gguf
    path: /var/lib/llama/models/qwen3-coder-30b-a3b-q4_k_m.gguf
    checksum: sha256:3f8c0f0f0d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4
    mode: "0644"

- name: Take a file that is on the host already
  private_llm.platform.fetched_file:
    url: file:///mnt/usb/model.gguf
    path: /var/lib/llama/models/model.gguf
    checksum: 3f8c0f0f0d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4
"""

RETURN = r"""
path:
  description: The file's path.
  type: str
  returned: success
checksum:
  description: The file's SHA-256 checksum.
  type: str
  returned: success
ready:
  description: Whether the file was in place with the right checksum before this run.
  type: bool
  returned: success
missing:
  description: Bytes that are still to come, V(0) if the other side does not tell.
  type: int
  returned: in check mode, when the file is not there
size:
  description: The file's size in bytes.
  type: int
  returned: when the file is there
received:
  description: Bytes that this run's last attempt fetched.
  type: int
  returned: when the file was fetched
resumed_from:
  description: Where the last attempt went on, in bytes; 0 when it began at the start.
  type: int
  returned: when the file was fetched
attempts:
  description: Attempts that were needed.
  type: int
  returned: when the file was fetched
"""

import contextlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.transfer import (
    Fetcher,
    Source,
    TransferFailed,
    expect_space,
    local_path,
    parse_checksum,
    sha256_of,
    shown,
)


class RememberedChecksum:
    """The checksum of a file as it was last verified, valid while size and time of change are the same."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._note = f"{path}.sha256"

    def _text(self, checksum: str) -> str:
        found = os.stat(self._path)
        return f"{checksum}  {os.path.basename(self._path)}\n# size {found.st_size} mtime_ns {found.st_mtime_ns}\n"

    def read(self) -> str | None:
        """The remembered checksum, or None when nothing valid is remembered."""
        try:
            with open(self._note, encoding="utf-8") as stream:
                text = stream.read(4096)
            checksum = parse_checksum(text.split(" ", 1)[0])
            return checksum if text == self._text(checksum) else None
        except (OSError, ValueError):
            return None

    def write(self, checksum: str) -> None:
        """Remember a checksum that was just verified."""
        temporary = f"{self._note}.new"
        with contextlib.suppress(OSError):
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(self._text(checksum))
            os.chmod(temporary, 0o644)
            os.rename(temporary, self._note)


class FetchedFile:
    """The module's work."""

    def __init__(self, module: AnsibleModule, wanted: str) -> None:
        self._module = module
        self._wanted = wanted
        self._path: str = module.params["path"]
        self._remembered = RememberedChecksum(self._path)
        headers = {str(name): str(value) for name, value in module.params["http_headers"].items()}
        self._keep_free = module.params["keep_free"] * 1024 * 1024
        self._source = Source(
            module.params["url"], headers, module.params["timeout"], module.params["validate_certs"], module.params["ca_path"]
        )

    def run(self) -> dict[str, Any]:
        """Make the file what it should be. :raises TransferFailed: when it cannot be."""
        found = self._found()
        result: dict[str, Any] = {"changed": False, "path": self._path, "checksum": self._wanted, "ready": found == self._wanted}
        if found != self._wanted:
            result["changed"] = True
            result["diff"] = {
                "before_header": self._path,
                "after_header": self._path,
                "before": f"{found or 'absent'}\n",
                "after": f"{self._wanted}\n",
            }
            if self._module.check_mode:
                result["missing"] = self._predict()
                return result
            result.update(self._fetch())
        arguments = self._module.load_file_common_arguments(self._module.params)
        result["changed"] = self._module.set_fs_attributes_if_different(arguments, result["changed"])
        result["size"] = os.path.getsize(self._path)
        return result

    def _found(self) -> str | None:
        if os.path.isdir(self._path):
            raise TransferFailed(f"{self._path} is a directory: give the path of a file")
        if not os.path.exists(self._path):
            return None
        checksum = self._remembered.read()
        if checksum is None:
            checksum = sha256_of(self._path)
            if checksum == self._wanted and not self._module.check_mode:
                self._remembered.write(checksum)
        return checksum

    def _predict(self) -> int:
        """See whether the file can be had; how many bytes are still to come, 0 if the other side does not tell.

        :raises TransferFailed: when it cannot be had, or there is no space for it.
        """
        size = self._source.probe()
        directory, name = os.path.split(self._path)
        missing = 0
        if size is not None:
            begun = os.path.join(directory, f".{name}.part")
            missing = max(size - (os.path.getsize(begun) if os.path.exists(begun) else 0), 0)
            expect_space(directory, missing, self._keep_free, shown(self._source.url))
        local = local_path(self._source.url)
        if local is not None:
            found = sha256_of(local)
            if found != self._wanted:
                raise TransferFailed(
                    f"{local} has the SHA-256 checksum {found}, but {self._wanted} is expected: check the file and the checksum. Nothing was changed"
                )
        return missing

    def _fetch(self) -> dict[str, Any]:
        directory, name = os.path.split(self._path)
        if not os.path.isdir(directory):
            raise TransferFailed(f"{directory} does not exist: make the directory first")
        part = os.path.join(directory, f".{name}.part")
        transfer = Fetcher(self._source, self._wanted, self._module.params["attempts"], keep_free=self._keep_free).fetch(part)
        arguments = self._module.load_file_common_arguments(self._module.params, path=part)
        arguments["mode"] = arguments["mode"] or 0o644
        self._module.set_fs_attributes_if_different(arguments, False)
        os.rename(part, self._path)
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._remembered.write(self._wanted)
        return {"received": transfer.received, "resumed_from": transfer.resumed_from, "attempts": transfer.attempts}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "checksum": {"type": "str", "required": True},
            "http_headers": {"type": "dict", "default": {}, "no_log": True},
            "attempts": {"type": "int", "default": 5},
            "timeout": {"type": "int", "default": 60},
            "keep_free": {"type": "int", "default": 0},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    try:
        wanted = parse_checksum(module.params["checksum"])
    except ValueError as error:
        module.fail_json(msg=f"checksum: {error}")
    try:
        result = FetchedFile(module, wanted).run()
    except TransferFailed as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
